#pragma once
#include <span>
#include <vector>

#include "core/model/transformer.h"

namespace halo::infer {

/// The model's greedy continuation of a prompt: at most `max_new` tokens, ended early by one of `stop` (which is not part
/// of it). The prompt's keys, values and lightning states are cached, so each new token costs one token's pass.
/// Throws Error for an empty prompt or a token outside the vocabulary.
[[nodiscard]] std::vector<std::int32_t> generate_greedy(const model::Transformer& model,
                                                        std::span<const std::int32_t> prompt,
                                                        std::int64_t max_new,
                                                        std::span<const std::int32_t> stop,
                                                        DType dtype, Stream& stream);

}  // namespace halo::infer
