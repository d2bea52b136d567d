#pragma once
#include <chrono>
#include <cstdint>
#include <memory>

#include "core/base/stream.h"
#include "parallel/comm/communicator.h"

namespace halo::comm {

/// What carries data between GPUs.
enum class DeviceTransport : std::uint8_t {
  kAuto,  // NCCL where every rank has a GPU of its own and its build has NCCL
  kNccl,
  kMpi,  // through host memory
};

/// The ranks of `world` with what carries the memory of their GPUs, the same for all: NCCL, or `world` itself with device
/// memory staged through the host's, for ranks that share a GPU. Collective; both must outlive it. `deterministic` as in
/// set_nccl_environment. Throws InputError, on every rank, when NCCL is asked for and cannot be had.
[[nodiscard]] std::unique_ptr<Communicator> make_device_communicator(Communicator& world,
                                                                     Stream& gpu,
                                                                     DeviceTransport transport,
                                                                     bool deterministic);

}  // namespace halo::comm
