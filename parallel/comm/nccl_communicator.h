#pragma once
#include <chrono>
#include <memory>
#include <string>

#include "core/base/stream.h"
#include "parallel/comm/communicator.h"

namespace halo::comm {

/// Why this build has no NCCL; empty when it has.
[[nodiscard]] std::string nccl_missing();

/// NCCL between GPUs, one a rank. Calls on the memory of the GPU go to streams of their own, after the work that `gpu`
/// holds then; Work::wait makes `gpu` wait, not the host, and Work::test looks how far the device is. Memory that is
/// waited for may go back to the stream's allocator at once. Calls on host memory, barriers and all that is not data
/// pass to `host`.
///
/// What differs from other communicators:
/// - A sum's order is NCCL's, and bfloat16 is rounded at each addition. With set_nccl_environment(true) one layout still
///   gives the same bits each time, and an all-reduce the same ones on each rank.
/// - A NaN may lose a maximum.
/// - A failure is thrown by the wait, the test or the call that finds it, or while the host waits for `gpu`
///   (DeviceQueue::watch). Messages of different sizes are found by the deadline alone.
/// - The first exchange of two ranks waits on the host until both have begun it: ranks whose first exchanges would wait
///   for each other in a circle must begin them in one call.
/// - A message of a rank to itself is received by the call that sends it.
///
/// Collective over `host`, which must outlive it, as must `gpu`. `deadline` is of one call, from when the device has
/// come to it and it is waited for. Throws Error in a build without NCCL.
[[nodiscard]] std::unique_ptr<Communicator> make_nccl_communicator(
    Communicator& host, Stream& gpu,
    std::chrono::milliseconds deadline = std::chrono::milliseconds{600000});

/// Settings of NCCL's that are read when its first communicator is made; what the environment has already stays.
/// `deterministic` fixes the algorithm, the protocol and the number of channels, so that sums repeat bit by bit.
void set_nccl_environment(bool deterministic);

/// What CUDA must know of communication beside computation, before its first call: kernels are loaded at the start, since
/// to load one later may wait for a kernel that waits for a peer, and streams have hardware queues of their own.
void set_cuda_environment();

}  // namespace halo::comm
