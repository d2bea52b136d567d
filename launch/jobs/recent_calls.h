#pragma once
#include <filesystem>

#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Writes what this rank last asked of its peers to output/log/calls_rankN.txt, for whoever looks for the one that hung or
/// died; of a run that has begun. `rank` is the run's. What cannot be written is told in the log.
void keep_recent_calls(const std::filesystem::path& output, int rank,
                       const comm::Communicator& ranks) noexcept;

}  // namespace halo::launch
