#pragma once
#include <string>

#include "core/base/stream.h"
#include "launch/machine.pb.h"
#include "parallel/comm/meta_communicator.h"

namespace halo::launch {

/// A description by the name of a preset ("h100", "h200") or from a file in the text format of machine.proto. Throws
/// InputError for what is neither, or lacks a number.
[[nodiscard]] proto::Machine read_machine(const std::string& name_or_file);
/// Seconds of a kernel: that of its arithmetic or of its memory, whichever is longer.
[[nodiscard]] double seconds_of(const proto::Machine& machine, const KernelWork& work);
/// Seconds of a call of ranks of which neighbours are `stride` ranks apart in the world.
[[nodiscard]] double seconds_of(const proto::Machine& machine, const comm::Call& call, int stride);

}  // namespace halo::launch
