#pragma once
#include "core/base/stream.h"
#include "launch/halo.pb.h"
#include "launch/plan/machine.h"
#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Measures what one rank has, in a few seconds, while all ranks of `ranks` measure: products, attention and additions in
/// `precision` on `stream`, and messages around a ring of all ranks. Every rank gets the slowest one's numbers. All ranks
/// count as one node. Collective.
[[nodiscard]] proto::Machine measure_machine(Stream& stream, comm::Communicator& ranks,
                                             proto::Precision precision);
/// The same of the CPU with `threads` threads a rank in float32, and of messages between two ranks that are threads.
[[nodiscard]] proto::Machine measure_machine(int threads);

}  // namespace halo::launch
