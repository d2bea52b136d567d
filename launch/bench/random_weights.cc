#include "launch/bench/random_weights.h"

#include <algorithm>

#include "core/base/rng.h"

namespace halo::launch {
namespace {

constexpr std::int64_t kBlock = std::int64_t{1} << 22;

/// Billions of different numbers would take a minute to draw.
Tensor normal_block(DType dtype, Stream& stream) {
  const Tensor on_host(stream.host(), {kBlock}, dtype);
  const CounterRng rng(0, "bench weights");
  dispatch_float(dtype, [&](auto zero) {
    auto* const x = on_host.view().as<decltype(zero)>();
    for (std::int64_t i = 0; i < kBlock; ++i)
      x[i] = decltype(zero)(static_cast<float>(0.02 * rng.normal(static_cast<std::uint64_t>(i))));
  });
  return Tensor::copy_of(stream, on_host);
}

}  // namespace

void fill_random(const model::ParameterSet& parameters, Stream& stream) {
  const Tensor block = normal_block(parameters.dtype(), stream);
  for (const model::Parameter& p : parameters.all()) {
    if (p.weight.rank() != 2) {
      model::initialize(p, 0);
      continue;
    }
    const TensorView flat = p.weight.reshape({p.weight.size()});
    for (std::int64_t begin = 0; begin < flat.size(); begin += kBlock) {
      const std::int64_t end = std::min(begin + kBlock, flat.size());
      copy(flat.slice(0, begin, end), block.view().slice(0, 0, end - begin), stream);
    }
  }
}

void fill_random(std::vector<std::int32_t>& tokens, std::int64_t vocab_size,
                 std::string_view name) {
  const CounterRng rng(0, name);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab_size), i));
}

}  // namespace halo::launch
