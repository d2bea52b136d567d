#pragma once
#include <span>
#include <vector>

#include "core/model/transformer.h"

namespace halo::infer {

/// Empty caches of a model's layers `first` and up, each for up to `capacity` tokens of one sequence.
[[nodiscard]] std::vector<model::MixerCache> make_caches(const model::Transformer& model, int first,
                                                         std::int64_t capacity, DType dtype,
                                                         Stream& stream);

/// The model's greedy continuation of `tokens` tokens that it has read: `caches` (one a layer, room for `max_new` more)
/// hold them, `last` (1, D) is the final hidden state of the last. At most `max_new` tokens, ended early by one of `stop`
/// (which is not part of it). Each new token costs one token's pass and joins the caches.
[[nodiscard]] std::vector<std::int32_t> continue_greedy(const model::Transformer& model,
                                                        std::vector<model::MixerCache>& caches,
                                                        TensorView last, std::int64_t tokens,
                                                        std::int64_t max_new,
                                                        std::span<const std::int32_t> stop,
                                                        model::RopeTables& rope, Stream& stream);

/// The same of a prompt that it has not read yet. Throws Error for an empty prompt or a token outside the vocabulary.
[[nodiscard]] std::vector<std::int32_t> generate_greedy(const model::Transformer& model,
                                                        std::span<const std::int32_t> prompt,
                                                        std::int64_t max_new,
                                                        std::span<const std::int32_t> stop,
                                                        DType dtype, Stream& stream);

}  // namespace halo::infer
