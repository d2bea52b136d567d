#include "kernels/optimizer.h"

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/base/tensor.h"
#include "kernels/cpu/loops.h"

namespace halo::kernels::cpu {
namespace {

/// Odd rounding keeps, in the last bit, that something was cut off: a second rounding to 16 bits is then as good as
/// one.
float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value)) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1u);
}

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<From, double> && sizeof(To) == 2) {
    return To(round_to_odd(value));
  } else if constexpr (sizeof(To) == 2) {
    return To(static_cast<float>(value));
  } else {
    return static_cast<To>(static_cast<Wide<From>>(value));
  }
}

}  // namespace

void adamw(TensorView master, TensorView m, TensorView v, TensorView grad, const AdamWStep& step,
           Stream& stream) {
  const double bias1 = 1 - std::pow(step.beta1, static_cast<double>(step.t));
  const double bias2 = 1 - std::pow(step.beta2, static_cast<double>(step.t));
  dispatch_cpu_float(master.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const w = master.as<T>();
    auto* const mean = m.as<T>();
    auto* const square = v.as<T>();
    const auto* const g = grad.as<T>();
    const auto scale = static_cast<T>(step.grad_scale);
    const auto keep = static_cast<T>(1 - step.lr * step.weight_decay);
    const auto take1 = static_cast<T>(1 - step.beta1);
    const auto beta2 = static_cast<T>(step.beta2), take2 = static_cast<T>(1 - step.beta2);
    const auto rate = static_cast<T>(step.lr / bias1);
    const auto root_bias2 = static_cast<T>(std::sqrt(bias2));
    const auto eps = static_cast<T>(step.eps);
    const auto update = [=](std::int64_t, std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        const T gi = g[i] * scale;
        const T mi = mean[i] + take1 * (gi - mean[i]);
        const T vi = beta2 * square[i] + take2 * gi * gi;
        mean[i] = mi;
        square[i] = vi;
        w[i] = w[i] * keep - rate * (mi / (std::sqrt(vi) / root_bias2 + eps));
      }
    };
    for_each_block(master.size(), 4, stream, update);
  });
}

double sum_of_squares(TensorView x, Stream& stream) {
  const std::int64_t blocks = (x.size() + kBlock - 1) / kBlock;
  const Tensor memory(stream, {blocks}, DType::kFloat64);
  auto* const sums = memory.view().as<double>();
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    const auto* const data = x.as<decltype(zero)>();
    for_each_block(x.size(), 1, stream,
                   [=](std::int64_t block, std::int64_t begin, std::int64_t end) {
                     sums[block] = sum_of<double>(end - begin, [=](std::int64_t i) {
                       const auto value = static_cast<double>(data[begin + i]);
                       return value * value;
                     });
                   });
  });
  double total = 0;
  for (std::int64_t block = 0; block < blocks; ++block) total += sums[block];
  return total;
}

std::int64_t count_nonfinite(TensorView x, Stream& stream) {
  const std::int64_t blocks = (x.size() + kBlock - 1) / kBlock;
  const Tensor memory(stream, {blocks}, DType::kInt32);
  auto* const counts = memory.view().as<std::int32_t>();
  dispatch_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto* const data = x.as<T>();
    for_each_block(x.size(), 1, stream,
                   [=](std::int64_t block, std::int64_t begin, std::int64_t end) {
                     std::int32_t count = 0;
#pragma omp simd reduction(+ : count)
                     for (std::int64_t i = begin; i < end; ++i) {
                       const auto value = std::fabs(static_cast<Wide<T>>(data[i]));
                       count += value <= std::numeric_limits<Wide<T>>::max() ? 0 : 1;
                     }
                     counts[block] = count;
                   });
  });
  std::int64_t total = 0;
  for (std::int64_t block = 0; block < blocks; ++block) total += counts[block];
  return total;
}

void cast(TensorView to, TensorView from, Stream& stream) {
  dispatch_float(to.dtype, [&](auto to_zero) {
    dispatch_float(from.dtype, [&](auto from_zero) {
      using To = decltype(to_zero);
      using From = decltype(from_zero);
      auto* const out = to.as<To>();
      const auto* const in = from.as<From>();
      for_each_block(from.size(), 1, stream,
                     [=](std::int64_t, std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i) out[i] = convert<To, From>(in[i]);
                     });
    });
  });
}

}  // namespace halo::kernels::cpu
