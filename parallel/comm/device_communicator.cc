#include "parallel/comm/device_communicator.h"

#include <glog/logging.h>

#include <array>
#include <map>
#include <vector>

#include "core/base/cuda_device.h"
#include "parallel/comm/nccl_communicator.h"
#include "parallel/comm/staged_communicator.h"

namespace halo::comm {
namespace {

/// Why NCCL cannot connect these ranks; empty when it can. Collective, and the same on every rank.
std::string obstacle(Communicator& world, const Stream& gpu) {
  const std::uint64_t gpu_id = cuda_device_properties(gpu.queue().device()).id;
  std::array<std::int64_t, 2> own{static_cast<std::int64_t>(gpu_id),
                                  nccl_missing().empty() ? 1 : 0};
  std::vector<std::array<std::int64_t, 2>> ranks(static_cast<std::size_t>(world.size()));
  const std::vector<std::int64_t> counts(ranks.size(), 2);
  world.all_gather(view(ranks[0].data(), {world.size() * 2}), view(own.data(), {2}), counts).wait();
  std::map<std::int64_t, int> holders;
  for (int rank = 0; rank < world.size(); ++rank) {
    const auto [identity, has_nccl] = ranks[static_cast<std::size_t>(rank)];
    if (has_nccl == 0)
      return nccl_missing().empty() ? "another rank's build has none" : nccl_missing();
    const auto [holder, first] = holders.emplace(identity, rank);
    if (!first) return str("rank ", holder->second, " and rank ", rank, " share a GPU");
  }
  return {};
}

}  // namespace

std::unique_ptr<Communicator> make_device_communicator(Communicator& world, Stream& gpu,
                                                       DeviceTransport transport,
                                                       bool deterministic) {
  if (world.size() > 1 && transport != DeviceTransport::kMpi) {
    const std::string reason = obstacle(world, gpu);
    if (reason.empty()) {
      set_nccl_environment(deterministic);
      return make_nccl_communicator(world, gpu);
    }
    HALO_REQUIRE_INPUT(transport == DeviceTransport::kAuto, reason);
    LOG_IF(WARNING, world.rank() == 0)
        << "data between GPUs goes through host memory, since " << reason;
  }
  return std::make_unique<StagedCommunicator>(world, gpu);
}

}  // namespace halo::comm
