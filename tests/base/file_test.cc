#include "core/base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>

#include "core/base/error.h"
#include "tests/temporary_folder.h"

namespace halo {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }
  test::TemporaryFolder folder_;
};

template <class Exception, class Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const Exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(FileTest, WritesAndReadsBackAnyBytes) {
  std::string bytes(300000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 >> 3);
  write_file_atomically(folder_ / "a", "old");
  write_file_atomically(folder_ / "a", bytes);
  EXPECT_EQ(read_file(folder_ / "a"), bytes);
  write_file_atomically(folder_ / "a", "");
  EXPECT_EQ(read_file(folder_ / "a"), "");
  EXPECT_EQ(files(), 1);
}

/// A limit on the size of files behaves like a full disk, for root too.
TEST_F(FileTest, AWriteThatFailsLeavesTheOldContentAndNoTemporary) {
  write_file_atomically(folder_ / "a", "old");
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message =
      message_of<Error>([&] { write_file_atomically(folder_ / "a", std::string(10000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(message, str("cannot write ", (folder_ / "a").string(), ": ", std::strerror(EFBIG)));
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(files(), 1);
}

TEST_F(FileTest, AFailedRenameLeavesNoTemporary) {
  fs::create_directories(folder_ / "a" / "b");
  EXPECT_NE(
      message_of<Error>([&] { write_file_atomically(folder_ / "a", "x"); }).find("cannot rename"),
      std::string::npos);
  EXPECT_EQ(files(), 1);
  EXPECT_TRUE(fs::is_directory(folder_ / "a"));
}

TEST_F(FileTest, NamesThePathAndTheReason) {
  const fs::path missing = folder_ / "missing";
  EXPECT_EQ(message_of<InputError>([&] { static_cast<void>(read_file(missing)); }),
            missing.string() + ": No such file or directory");
  EXPECT_EQ(message_of<InputError>([&] { static_cast<void>(read_file(folder_.path())); }),
            folder_.path().string() + ": is a folder, not a file");
  EXPECT_EQ(message_of<InputError>([&] { MappedFile file(missing); }),
            missing.string() + ": No such file or directory");
  EXPECT_EQ(message_of<InputError>([&] { MappedFile file("/dev/null"); }),
            "/dev/null: not a regular file");
  EXPECT_NE(message_of<Error>([&] {
              write_file_atomically(missing / "a", "x");
            }).find("No such file or directory"),
            std::string::npos);
  EXPECT_NE(message_of<Error>([&] { sync_folder(missing); }).find(missing.string()),
            std::string::npos);
}

TEST_F(FileTest, MapsAFile) {
  write_file_atomically(folder_ / "a", "some bytes");
  const MappedFile file(folder_ / "a");
  ASSERT_EQ(file.bytes().size(), 10u);
  EXPECT_EQ(std::memcmp(file.bytes().data(), "some bytes", 10), 0);
  write_file_atomically(folder_ / "empty", "");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
}

TEST_F(FileTest, ReadsFilesWhoseSizeIsNotKnownBefore) {
  EXPECT_NE(read_file("/proc/self/status").find("Pid:"), std::string::npos);
}

}  // namespace
}  // namespace halo
