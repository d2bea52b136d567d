#include "launch/jobs/output_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/base/error.h"
#include "parallel/comm/local_communicator.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

using namespace std::chrono_literals;

/// Another process's lock: one file that is opened twice has two.
class HeldLock {
 public:
  explicit HeldLock(const std::filesystem::path& folder)
      : file_(::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    EXPECT_EQ(::flock(file_, LOCK_EX | LOCK_NB), 0);
  }
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;
  ~HeldLock() { release(); }
  void release() {
    if (file_ >= 0) ::close(file_);
    file_ = -1;
  }

 private:
  int file_;
};

void lock(const std::filesystem::path& folder, bool started_again) {
  comm::run_ranks(
      1, [&](comm::Communicator& world) { const OutputLock lock(folder, world, started_again); });
}

/// A person is told after five seconds; ranks of the start before may take longer to die.
TEST(OutputLockTest, ARunThatIsStartedAgainWaitsLonger) {
  const test::TemporaryFolder persons, supervised;
  HeldLock persons_lock(persons.path()), supervised_lock(supervised.path());
  std::jthread again([&] { EXPECT_NO_THROW(lock(supervised.path(), /*started_again=*/true)); });
  EXPECT_THROW(lock(persons.path(), /*started_again=*/false), InputError);
  std::this_thread::sleep_for(200ms);
  supervised_lock.release();
}

}  // namespace
}  // namespace halo::launch
