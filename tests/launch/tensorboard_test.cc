#include "launch/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/base/file.h"
#include "launch/tensorboard.pb.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

std::vector<proto::Event> events_in(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  std::vector<proto::Event> events;
  std::size_t at = 0;
  while (at + 16 <= bytes.size()) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, sizeof(length));
    const std::string body = bytes.substr(at + 12, length);
    EXPECT_EQ(bytes.substr(at, 16 + length), tfrecord(body));
    EXPECT_TRUE(events.emplace_back().ParseFromString(body));
    at += 16 + length;
  }
  EXPECT_EQ(at, bytes.size()) << "bytes are left over";
  return events;
}

TEST(TfRecord, HasTheBytesThatTensorFlowWrites) {
  // Length 9; masked CRC-32C of those eight bytes; text; masked CRC-32C of the text, whose CRC-32C is 0xe3069283.
  const std::string record = tfrecord("123456789");
  ASSERT_EQ(record.size(), 8U + 4U + 9U + 4U);
  EXPECT_EQ(record.substr(0, 8), std::string("\x09\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 9), "123456789");
  constexpr std::uint32_t kCrc = 0xe3069283U;
  const std::uint32_t expected = ((kCrc >> 15) | (kCrc << 17)) + 0xa282ead8U;
  std::uint32_t stored = 0;
  std::memcpy(&stored, record.data() + 21, sizeof(stored));
  EXPECT_EQ(stored, expected);
}

TEST(TensorBoardWriter, WritesVersionAndScalars) {
  const test::TemporaryFolder folder;
  TensorBoardWriter writer(folder.path() / "tensorboard", 0);
  StepMetrics metrics;
  metrics.step = 7;
  metrics.loss = 2.5;
  metrics.validation_loss = 3.5;
  writer.add_step(metrics);
  writer.add_scalar("importance", 3, 50);
  writer.flush();
  ASSERT_TRUE(writer.ok());
  const std::vector<proto::Event> events = events_in(writer.path());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].step(), 7);
  EXPECT_GT(events[1].wall_time(), 1.6e9) << "seconds since 1970";
  ASSERT_EQ(events[1].summary().value_size(), 8);
  EXPECT_EQ(events[1].summary().value(0).tag(), "train/loss");
  EXPECT_EQ(events[1].summary().value(0).simple_value(), 2.5F);
  EXPECT_EQ(events[1].summary().value(7).tag(), "validation/loss");
  EXPECT_EQ(events[2].summary().value(0).simple_value(), 50.0F);
}

TEST(TensorBoardWriter, AResumedRunHasItsOwnFileAndPurges) {
  const test::TemporaryFolder folder;
  const TensorBoardWriter first(folder.path(), 0);
  const TensorBoardWriter second(folder.path(), 5);
  EXPECT_NE(first.path(), second.path());
  const std::vector<proto::Event> events = events_in(second.path());
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].step(), 5);
  EXPECT_EQ(events[1].session_log().status(), proto::SessionLog::START);
  EXPECT_EQ(events_in(first.path()).size(), 1U);
}

}  // namespace
}  // namespace halo::launch
