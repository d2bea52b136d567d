#pragma once
#include <filesystem>

#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Keeps a second run out of an output folder while this one works in it: an advisory lock on output/.lock, held by rank 0,
/// which the system gives up when the process ends in whatever way.
class OutputLock {
 public:
  /// Collective. Makes the folder. Waits some seconds for ranks of a killed run to be gone; throws InputError when another
  /// run stays.
  OutputLock(const std::filesystem::path& output, comm::Communicator& world);
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace halo::launch
