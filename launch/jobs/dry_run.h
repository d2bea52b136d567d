#pragma once
#include <string>

#include "launch/config.h"

namespace halo::launch {

/// What a run would take, as a table: of each training job its trained parameters, the memory of a rank (weights,
/// gradients, optimizer state, activations, teacher) and the FLOPs of a step on `ranks` ranks. Reads configs of models,
/// never weights; jobs that need results of earlier ones are computed from the config alone.
/// Throws InputError like resolve.
[[nodiscard]] std::string dry_run(const Config& resolved, int ranks);

}  // namespace halo::launch
