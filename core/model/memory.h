#pragma once
#include "core/base/dtype.h"
#include "core/model/parameters.h"

namespace halo::model {

/// Numbers that a list of parameters holds.
[[nodiscard]] double parameter_elements(const std::vector<ParameterSpec>& specs);

/// Numbers that a training pass over `rows` tokens keeps of one layer for its backward pass, and that a pass without
/// gradients needs at once. With recomputation a layer keeps its input alone, and one layer's rest is needed at once.
[[nodiscard]] double saved_elements(const ModelConfig& config, int layer, std::int64_t rows);
[[nodiscard]] double mixer_saved_elements(const ModelConfig& config, int layer, std::int64_t rows);

/// Bytes of activations at the peak of a training pass over `rows` tokens, all layers and the chunk of logits included.
[[nodiscard]] double activation_bytes(const ModelConfig& config, std::int64_t rows, bool recompute,
                                      DType dtype);

}  // namespace halo::model
