#pragma once
#include <filesystem>

#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Keeps a second run out of an output folder while this one works in it: an advisory lock on output/.lock, held by rank 0,
/// which the system gives up when the process ends in whatever way.
class OutputLock {
 public:
  /// Collective. Makes the folder. Waits for ranks of a killed run to be gone: five seconds, after which it throws InputError,
  /// since another run works there; a minute in a run that a supervisor has `started_again`, after which it throws Error, since
  /// the supervisor may well try again.
  OutputLock(const std::filesystem::path& output, comm::Communicator& world, bool started_again);
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace halo::launch
