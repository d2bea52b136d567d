#include "core/infer/generate.h"

#include <algorithm>

namespace halo::infer {
namespace {

std::int32_t most_likely(const model::Transformer& model, TensorView last_hidden, Stream& stream) {
  const Tensor greedy(stream, {1}, DType::kInt32);
  model.head().log_likelihood({}, greedy, last_hidden, {}, stream);
  std::int32_t best = 0;
  copy(view(&best, {1}), greedy, stream);
  return best;
}

}  // namespace

std::vector<std::int32_t> generate_greedy(const model::Transformer& model,
                                          std::span<const std::int32_t> prompt,
                                          std::int64_t max_new, std::span<const std::int32_t> stop,
                                          DType dtype, Stream& stream) {
  HALO_REQUIRE(!prompt.empty(), "an empty prompt has no continuation");
  const auto length = static_cast<std::int64_t>(prompt.size());
  std::vector<model::MixerCache> caches;
  for (int layer = 0; layer < model.layers(); ++layer) {
    caches.push_back(model.block(layer).mixer().make_cache(length + max_new, 1, dtype, stream));
  }
  model::RopeTables rope(model.config(), dtype);
  std::vector<std::int32_t> tokens(prompt.begin(), prompt.end()), generated;
  std::int64_t position = 0;
  while (static_cast<std::int64_t>(generated.size()) < max_new) {
    const auto T = static_cast<std::int64_t>(tokens.size());
    const Tensor h = model.hidden(view(tokens.data(), {T}), rope.sequence(T, 1, position, stream),
                                  stream, &caches);
    const std::int32_t next = most_likely(model, h.view().slice(0, T - 1, T), stream);
    if (std::find(stop.begin(), stop.end(), next) != stop.end()) break;
    generated.push_back(next);
    tokens.assign(1, next);
    position += T;
  }
  return generated;
}

}  // namespace halo::infer
