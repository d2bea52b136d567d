#pragma once
#include "core/model/parameters.h"
#include "parallel/device_mesh.h"

namespace halo::train {

/// Sums the gradients of what several ranks hold and each has seen a part for: along the tensor axis norms, whose tokens
/// are cut there, and key heads that ranks share; between both ends of the pipeline tied embeddings. Collective among the
/// ranks that hold them.
void sum_shared_gradients(const std::vector<const model::Parameter*>& parameters,
                          const parallel::DeviceMesh& mesh, Stream& stream);

}  // namespace halo::train
