#pragma once
#include <initializer_list>

#include "core/base/tensor_view.h"

namespace halo::launch {

/// What a call has to compute and to move whatever the kernel: a multiplication and an addition are two FLOPs, and each
/// operand goes through memory once, one that is read and written twice.
struct KernelCost {
  double flops = 0;
  double bytes = 0;
};

/// The bytes of the operands; of ops whose arithmetic hides behind them.
[[nodiscard]] inline KernelCost moves(std::initializer_list<TensorView> operands) {
  KernelCost cost;
  for (const TensorView& operand : operands) cost.bytes += static_cast<double>(operand.bytes());
  return cost;
}

/// (M, K) times (K, N).
[[nodiscard]] inline double matmul_flops(std::int64_t M, std::int64_t N, std::int64_t K) {
  return 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
}
/// q (T, B, H, K): two products over the T^2 / 2 pairs that a causal mask leaves.
[[nodiscard]] inline double softmax_attention_flops(const Shape& q) {
  return 2.0 * static_cast<double>(q[0]) * static_cast<double>(q.elements());
}
/// Five products: the scores again, and the gradients of scores, queries, keys and values.
[[nodiscard]] inline double softmax_attention_backward_flops(const Shape& q) {
  return 2.5 * softmax_attention_flops(q);
}
/// q (T, B, H, K): the update and the read of a K x K state a token, however a kernel goes about it.
[[nodiscard]] inline double lightning_attention_flops(const Shape& q) {
  return 4.0 * static_cast<double>(q[3]) * static_cast<double>(q.elements());
}
[[nodiscard]] inline double lightning_attention_backward_flops(const Shape& q) {
  return 2 * lightning_attention_flops(q);
}

}  // namespace halo::launch
