#pragma once

namespace halo::test {

/// While it lives, one of this process's calls that change files fails: number `call` (from 0) of open for writing, mkdir,
/// write, pwrite, ftruncate, fallocate, fsync, rename and renameat2, with this errno. The program's own definitions of
/// these functions take the C library's place.
class FailingCall {
 public:
  FailingCall(int call, int error);
  FailingCall(const FailingCall&) = delete;
  FailingCall& operator=(const FailingCall&) = delete;
  ~FailingCall();
  /// Whether it has come to that call.
  [[nodiscard]] bool met() const;
};

/// While it lives, pwrite does not return: a disk that stalls.
class StalledDisk {
 public:
  StalledDisk();
  StalledDisk(const StalledDisk&) = delete;
  StalledDisk& operator=(const StalledDisk&) = delete;
  ~StalledDisk();
};

}  // namespace halo::test
