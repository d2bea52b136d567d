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

std::vector<model::MixerCache> make_caches(const model::Transformer& model, int first,
                                           std::int64_t capacity, DType dtype, Stream& stream) {
  std::vector<model::MixerCache> caches;
  for (int layer = first; layer < model.layers(); ++layer)
    caches.push_back(model.block(layer).mixer().make_cache(capacity, 1, dtype, stream));
  return caches;
}

std::vector<std::int32_t> continue_greedy(const model::Transformer& model,
                                          std::vector<model::MixerCache>& caches, TensorView last,
                                          std::int64_t tokens, std::int64_t max_new,
                                          std::span<const std::int32_t> stop,
                                          model::RopeTables& rope, Stream& stream) {
  std::vector<std::int32_t> generated;
  Tensor h;
  while (static_cast<std::int64_t>(generated.size()) < max_new) {
    std::int32_t next = most_likely(model, h.empty() ? last : h.view(), stream);
    if (std::find(stop.begin(), stop.end(), next) != stop.end()) break;
    generated.push_back(next);
    if (static_cast<std::int64_t>(generated.size()) == max_new) break;
    h = model.hidden(view(&next, {1}), rope.sequence(1, 1, tokens, stream), stream, &caches);
    ++tokens;
  }
  return generated;
}

std::vector<std::int32_t> generate_greedy(const model::Transformer& model,
                                          std::span<const std::int32_t> prompt,
                                          std::int64_t max_new, std::span<const std::int32_t> stop,
                                          DType dtype, Stream& stream) {
  HALO_REQUIRE(!prompt.empty(), "an empty prompt has no continuation");
  if (max_new == 0) return {};
  const auto T = static_cast<std::int64_t>(prompt.size());
  std::vector<model::MixerCache> caches = make_caches(model, 0, T + max_new, dtype, stream);
  model::RopeTables rope(model.config(), dtype);
  std::vector<std::int32_t> ids(prompt.begin(), prompt.end());
  const Tensor h =
      model.hidden(view(ids.data(), {T}), rope.sequence(T, 1, 0, stream), stream, &caches);
  return continue_greedy(model, caches, h.view().slice(0, T - 1, T), T, max_new, stop, rope,
                         stream);
}

}  // namespace halo::infer
