// Checkpoints on a disk of which one call fails or stalls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/checkpoint_saver.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/failing_system.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

constexpr int kRanks = 2;
constexpr DType kDType = DType::kFloat32;

class DiskTest : public testing::Test {
 protected:
  /// Saves `step` beside training, with values that the step gives; what all ranks were told.
  SaveResult save(std::int64_t step) {
    std::vector<SaveResult> results(kRanks);
    comm::run_ranks(kRanks, [&](comm::Communicator& ranks) {
      Stream stream(1);
      CheckpointSaver saver(root(), {.keep_last = 2}, ranks);
      const SampleState state(kDType, Cut::kRows, ranks.rank(), kRanks, static_cast<int>(step));
      auto& result = results[static_cast<std::size_t>(ranks.rank())];
      if (const auto failed = saver.start(sample_info(step, kDType), state.pieces(), stream))
        result = *failed;
      else
        result = saver.wait().value();
    });
    EXPECT_EQ(results[0].saved, results[1].saved);
    EXPECT_EQ(results[0].reason, results[1].reason);
    return results[0];
  }
  /// That the newest checkpoint is whole; returns its step.
  std::int64_t newest() {
    std::string warnings;
    const auto reader = latest_good(root(), [&](const std::string& text) { warnings += text; });
    EXPECT_EQ(warnings, "") << "a checkpoint with a plain name was not whole";
    SampleState(kDType, Cut::kRows, 0, 1, static_cast<int>(reader->info().step))
        .expect_equal(*reader);
    return reader->info().step;
  }
  [[nodiscard]] std::filesystem::path root() const { return folder_.path() / "checkpoints"; }
  test::TemporaryFolder folder_;
};

class FailingDiskTest : public DiskTest, public testing::WithParamInterface<int> {};

TEST_P(FailingDiskTest, AnyCallThatFailsCostsAtMostThatCheckpoint) {
  ASSERT_TRUE(save(1).saved);
  ASSERT_TRUE(save(2).saved);
  int dropped = 0, calls = 0;
  for (std::int64_t step = 3;; ++step, ++calls) {
    ASSERT_LT(calls, 500);
    SCOPED_TRACE(testing::Message() << "call " << calls);
    const std::int64_t before = newest();
    SaveResult result;
    bool met = false;
    {
      const test::FailingCall failing(calls, GetParam());
      result = save(step);
      met = failing.met();
    }
    if (result.saved) {
      EXPECT_EQ(newest(), step);
    } else {
      ++dropped;
      EXPECT_THAT(result.reason,
                  AllOf(HasSubstr(root().string()), HasSubstr(std::strerror(GetParam()))));
      EXPECT_EQ(newest(), before) << "told as not written and there";
    }
    if (HasFailure()) return;
    if (!met) break;
  }
  // Two ranks make, write and sync a file each; then comes the manifest with its name, the folder's name, and what goes.
  EXPECT_GE(dropped, 12);
  EXPECT_GE(calls, dropped);
  const std::int64_t last = newest() + 1;
  ASSERT_TRUE(save(last).saved);
  EXPECT_EQ(names_in(root()).size(), 2u) << "leftovers stayed";
}

INSTANTIATE_TEST_SUITE_P(Errors, FailingDiskTest, testing::Values(EIO, ENOSPC));

using StalledDiskTest = DiskTest;

TEST_F(StalledDiskTest, TrainingGoesOnWhileTheDiskStalls) {
  comm::run_ranks(kRanks, [&](comm::Communicator& ranks) {
    Stream stream(1);
    CheckpointSaver saver(root(), {}, ranks);
    const SampleState state(kDType, Cut::kRows, ranks.rank(), kRanks, 1);
    const auto step = [&] {
      CheckpointSaver::Votes votes = saver.votes();
      ranks.all_reduce(view(votes.data(), {2}), comm::ReduceOp::kSum).wait();
      return saver.advance(votes);
    };
    auto disk = ranks.rank() == 0 ? std::make_unique<test::StalledDisk>() : nullptr;
    ranks.barrier().wait();
    std::ignore = saver.start(sample_info(1, kDType), state.pieces(), stream);
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(step().has_value());
    EXPECT_THAT(names_in(root()), Contains(".step_00000001.writing"));
    disk.reset();
    std::optional<SaveResult> result;
    while (!result) result = step();
    EXPECT_TRUE(result->saved) << result->reason;
  });
  EXPECT_EQ(newest(), 1);
}

}  // namespace
}  // namespace halo::checkpoints
