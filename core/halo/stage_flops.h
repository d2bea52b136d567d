#pragma once
#include "core/model/model_config.h"

namespace halo::method {

// FLOPs of one token of a training step of sequences of T tokens: forward, and twice that backward for what is trained.

/// The teacher's forward pass without its head, and the mixers; q, k, v and the gate pass no gradient to their input.
[[nodiscard]] double align_flops(const model::ModelConfig& teacher,
                                 const model::ModelConfig& student, std::int64_t T);
/// The teacher's forward pass and the student.
[[nodiscard]] double distill_flops(const model::ModelConfig& teacher,
                                   const model::ModelConfig& student, std::int64_t T);
/// The student alone.
[[nodiscard]] double finetune_flops(const model::ModelConfig& student, std::int64_t T);

}  // namespace halo::method
