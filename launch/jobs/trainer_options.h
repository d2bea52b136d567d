#pragma once
#include "core/train/trainer.h"
#include "launch/config.h"

namespace halo::launch {

/// What a training job of a resolved config says of its steps.
[[nodiscard]] train::TrainerOptions trainer_options(const proto::Job& job);

}  // namespace halo::launch
