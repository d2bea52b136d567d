#pragma once
#include <filesystem>

#include "core/train/trace.h"
#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Rank 0 writes what every rank has kept as one file that Perfetto and chrome://tracing open; a warning when it cannot.
/// Collective.
void write_trace(const train::Trace& trace, const std::filesystem::path& path,
                 comm::Communicator& world);

}  // namespace halo::launch
