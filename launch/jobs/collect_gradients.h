#pragma once
#include <string>
#include <vector>

#include "launch/jobs/prepared_stage.h"

namespace halo::launch {

struct WholeTensor {
  std::string name;
  Tensor tensor;
};

/// The gradients of every trained parameter, whole, on rank 0, from the ranks that count them; nothing on other ranks.
/// After ShardedAdamW::gather_gradients. Collective.
[[nodiscard]] std::vector<WholeTensor> collect_gradients(const JobContext& context,
                                                         const PreparedStage& prepared);

}  // namespace halo::launch
