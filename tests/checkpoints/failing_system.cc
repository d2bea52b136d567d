#include "tests/checkpoints/failing_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <thread>

namespace halo::test {
namespace {

// Of the whole process, as what they fail is.
std::atomic<int> calls_left = -1;  // until the one that fails; below 0: none does
std::atomic<int> failure = 0;
std::atomic<bool> stalled = false;

/// Whether this call is the one.
bool fails() {
  if (calls_left < 0 || calls_left-- != 0) return false;
  errno = failure;
  return true;
}

}  // namespace

FailingCall::FailingCall(int call, int error) {
  failure = error;
  calls_left = call;
}
FailingCall::~FailingCall() { calls_left = -1; }
bool FailingCall::met() const { return calls_left < 0; }

StalledDisk::StalledDisk() { stalled = true; }
StalledDisk::~StalledDisk() { stalled = false; }

}  // namespace halo::test

extern "C" {

using halo::test::fails;

int open(const char* path, int flags, ...) {
  std::va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if ((flags & O_ACCMODE) != O_RDONLY && fails()) return -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
int mkdir(const char* path, mode_t mode) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_mkdir, path, mode));
}
ssize_t write(int file, const void* bytes, size_t count) {
  return file > 2 && fails() ? -1 : ::syscall(SYS_write, file, bytes, count);
}
ssize_t pwrite(int file, const void* bytes, size_t count, off_t offset) {
  while (halo::test::stalled) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return fails() ? -1 : ::syscall(SYS_pwrite64, file, bytes, count, offset);
}
int ftruncate(int file, off_t size) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_ftruncate, file, size));
}
int fallocate(int file, int mode, off_t offset, off_t size) {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_fallocate, file, mode, offset, size));
}
int fsync(int file) { return fails() ? -1 : static_cast<int>(::syscall(SYS_fsync, file)); }
int rename(const char* from, const char* to) noexcept {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_rename, from, to));
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  if (fails()) return -1;
  return static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

}  // extern "C"
