#pragma once
#include <memory>

#include "core/base/stream.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {

/// What all ranks together can multiply in the job's precision, FLOP/s: the peak that MFU is a share of. A GPU's is its
/// data sheet's, and counts once however many ranks share it. A processor's is measured, by a few products of matrices on
/// every rank at once, as is that of a GPU that is not known (launch/jobs/device_peaks.h). Collective.
[[nodiscard]] double peak_flops(const JobContext& context);

/// The config's device; for AUTO, CUDA where this build and this host have it and no job asks for FP64, else CPU.
[[nodiscard]] proto::Device chosen_device(const Config& config);
/// The threads of this rank: the config's number, or this host's cores shared among its ranks. Collective.
[[nodiscard]] int threads_of_rank(const Config& config, comm::Communicator& world);
/// What this rank computes on: its threads, or one of this host's GPUs, which its ranks take in turn. Collective.
[[nodiscard]] Stream stream_of_rank(const Config& config, comm::Communicator& world);
/// The ranks of `world` with what carries the memory that they compute on; null when that is `world` itself, on the CPU.
/// Collective; both must outlive it. Throws InputError, on every rank, for NCCL where it cannot be had.
[[nodiscard]] std::unique_ptr<comm::Communicator> device_ranks(const Config& config,
                                                               comm::Communicator& world,
                                                               Stream& stream);

}  // namespace halo::launch
