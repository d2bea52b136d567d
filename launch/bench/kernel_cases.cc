#include "launch/bench/kernel_cases.h"

#include <algorithm>

#include "core/base/rng.h"

namespace halo::launch {
namespace {

constexpr std::int64_t kBlockValues = std::int64_t{1} << 20;

}  // namespace

TensorView Operands::room(const Shape& shape, DType dtype) {
  all_.emplace_back(stream_, shape, dtype);
  return all_.back();
}

TensorView Operands::block(DType dtype) {
  Tensor& block = blocks_[dtype];
  if (!block.empty()) return block;
  const Tensor on_host(stream_.host(), {kBlockValues}, dtype);
  const CounterRng rng(0, "kernel bench");
  dispatch_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    T* const to = on_host.view().as<T>();
    for (std::int64_t i = 0; i < kBlockValues; ++i)
      to[i] = T(static_cast<float>(rng.normal(static_cast<std::uint64_t>(i))));
  });
  block = Tensor::copy_of(stream_, on_host);
  return block;
}

TensorView Operands::normal(const Shape& shape, DType dtype) {
  const TensorView values = block(dtype);
  const TensorView made = room(shape, dtype), flat = made.reshape({made.size()});
  for (std::int64_t begin = 0; begin < flat.size(); begin += kBlockValues) {
    const std::int64_t end = std::min(begin + kBlockValues, flat.size());
    copy(flat.slice(0, begin, end), values.slice(0, 0, end - begin), stream_);
  }
  return made;
}

TensorView Operands::tokens(std::int64_t n, std::int64_t V) {
  const Tensor on_host(stream_.host(), {n}, DType::kInt32);
  const CounterRng rng(0, "kernel bench tokens");
  auto* const to = on_host.view().as<std::int32_t>();
  for (std::int64_t i = 0; i < n; ++i)
    to[i] = static_cast<std::int32_t>(
        rng.below(static_cast<std::uint64_t>(V), static_cast<std::uint64_t>(i)));
  const TensorView made = room({n}, DType::kInt32);
  copy(made, on_host, stream_);
  return made;
}

std::vector<KernelCase> kernel_cases(const KernelSizes& sizes) {
  std::vector<KernelCase> cases;
  add_row_cases(cases, sizes);
  add_matmul_cases(cases, sizes);
  add_attention_cases(cases, sizes);
  add_loss_cases(cases, sizes);
  return cases;
}

}  // namespace halo::launch
