#include "launch/jobs/output_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace halo::launch {
namespace {

using namespace std::chrono_literals;

/// False while another process holds it. A file system without locks counts as free.
bool lock(int file) {
  while (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return true;
  }
  return true;
}

/// Whether `path` still names the open file, which its last holder may have removed.
bool is_there(int file, const std::filesystem::path& path) {
  struct stat open_one = {}, named = {};
  return ::fstat(file, &open_one) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

int open_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  HALO_REQUIRE_INPUT(file >= 0, str(path.string(), ": cannot be written: ", std::strerror(errno)));
  return file;
}

/// An open file with the lock, or -1 when another process keeps it.
int take(const std::filesystem::path& path, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    const int file = open_file(path);
    const bool locked = lock(file);
    if (locked && is_there(file, path)) return file;
    ::close(file);
    if (!locked && std::chrono::steady_clock::now() > deadline) return -1;
    std::this_thread::sleep_for(50ms);
  }
}

}  // namespace

OutputLock::OutputLock(const std::filesystem::path& output, comm::Communicator& world,
                       bool started_again)
    : path_(output / ".lock") {
  if (world.rank() == 0) {
    std::error_code error;
    std::filesystem::create_directories(output, error);
    HALO_REQUIRE_INPUT(!error, str(output.string(), ": cannot be made: ", error.message()));
    const auto patience = started_again ? 60s : 5s;
    file_ = take(path_, std::chrono::steady_clock::now() + patience);
    HALO_REQUIRE(file_ >= 0 || !started_again,
                 str(output.string(), ": a halo_train has been working in this folder for ",
                     patience.count(), " s, which may be one of the start before"));
    HALO_REQUIRE_INPUT(file_ >= 0, str(output.string(),
                                       ": another halo_train is working in this folder; wait for "
                                       "its end or give another output"));
  }
  world.barrier().wait();
}

OutputLock::~OutputLock() {
  if (file_ < 0) return;
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
  ::close(file_);
  if (std::filesystem::is_empty(path_.parent_path(), ignored))  // bad input leaves nothing behind
    std::filesystem::remove(path_.parent_path(), ignored);
}

}  // namespace halo::launch
