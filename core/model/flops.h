#pragma once
#include "core/model/model_config.h"

namespace halo::model {

// Arithmetic of one token, for MFU. Softmax attention counts its causal mean, lightning attention its state's update and
// read; recomputation is not counted. docs/performance.md derives them.

/// Elements of the matrices that layer `layer`'s mixer multiplies a token with; those of its MLP; those of the head.
[[nodiscard]] double mixer_matrix_elements(const ModelConfig& config, int layer);
[[nodiscard]] double mlp_matrix_elements(const ModelConfig& config);
[[nodiscard]] double head_matrix_elements(const ModelConfig& config);

/// FLOPs of layer `layer`'s mixing itself in the forward pass of a sequence of T tokens, a token.
[[nodiscard]] double mixing_flops(const ModelConfig& config, int layer, std::int64_t T);

/// FLOPs of a forward pass, a token, with or without the head.
[[nodiscard]] double forward_flops(const ModelConfig& config, std::int64_t T, bool head);

}  // namespace halo::model
