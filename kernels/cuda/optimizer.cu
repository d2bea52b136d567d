#include "kernels/optimizer.h"

#include <cmath>
#include <cub/block/block_reduce.cuh>

#include "core/base/tensor.h"
#include "kernels/cuda/elementwise.cuh"

namespace halo::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// W: of the rounded weights; float for none.
template <class W>
struct AdamW {
  W* weight;
  float *master, *m, *v;
  const float* grad;
  float scale, keep, take1, beta2, take2, rate, root_bias2, eps;

  template <int N>
  __device__ void at(std::int64_t i) const {
    auto weights = load_floats<N>(master, i);
    auto means = load_floats<N>(m, i);
    auto squares = load_floats<N>(v, i);
    const auto gradients = load_floats<N>(grad, i);
#pragma unroll
    for (int k = 0; k < N; ++k) {  // fused by hand: the same bits in packs and one by one
      const float g = __fmul_rn(gradients.at[k], scale);
      means.at[k] = fmaf(take1, g - means.at[k], means.at[k]);
      squares.at[k] = fmaf(beta2, squares.at[k], take2 * g * g);
      const float step = means.at[k] / (sqrtf(squares.at[k]) / root_bias2 + eps);
      weights.at[k] = fmaf(weights.at[k], keep, -(rate * step));
    }
    store_floats(master, i, weights);
    if constexpr (!std::is_same_v<W, float>) store_floats(weight, i, weights);
    store_floats(m, i, means);
    store_floats(v, i, squares);
  }
};

/// What a reduction adds up of each element.
struct Square {
  using Sum = double;
  static __device__ double of(float x) { return static_cast<double>(x) * static_cast<double>(x); }
};
struct Nonfinite {
  using Sum = std::int64_t;
  static __device__ std::int64_t of(float x) { return isfinite(x) ? 0 : 1; }
};

/// A sum a block. Which thread adds which elements, and in which order, depends on n and the dtype alone: also where packs
/// cannot be loaded at once.
template <class Term, class T, bool kAligned>
__global__ void reduce_kernel(typename Term::Sum* sums, const T* x, std::int64_t n) {
  using Sum = typename Term::Sum;
  using Reduce = cub::BlockReduce<Sum, kThreads>;
  __shared__ typename Reduce::TempStorage scratch;
  constexpr int N = kPack<T>;
  const std::int64_t thread = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  Sum sum = 0;
#pragma unroll 4
  for (std::int64_t i = thread; i < n / N; i += step) {
    Pack<float, N> values;
    if constexpr (kAligned) {
      values = load_floats<N>(x, i);
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k) values.at[k] = to_float(x[i * N + k]);
    }
#pragma unroll
    for (int k = 0; k < N; ++k) sum += Term::of(values.at[k]);
  }
  const std::int64_t rest = n / N * N + thread;
  if (rest < n) sum += Term::of(to_float(x[rest]));
  sum = Reduce(scratch).Sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;  // no other thread has it
}

/// to (+)= the blocks' sums, in a fixed order.
template <class Sum, bool kAdd>
__global__ void finish_kernel(Sum* to, const Sum* sums, int blocks) {
  using Reduce = cub::BlockReduce<Sum, kThreads>;
  __shared__ typename Reduce::TempStorage scratch;
  Sum sum = 0;
  for (int i = threadIdx.x; i < blocks; i += kThreads) sum += sums[i];
  sum = Reduce(scratch).Sum(sum);
  if (threadIdx.x == 0) *to = kAdd ? *to + sum : sum;
}

/// Of at least one element.
template <class Term, bool kAdd>
void reduce(typename Term::Sum* to, const TensorView& x, Stream& stream) {
  using Sum = typename Term::Sum;
  constexpr std::int64_t kMostBlocks = 1024;
  const std::int64_t n = x.size();
  const unsigned blocks = blocks_for(n, 16 * kThreads, kMostBlocks);
  const Tensor memory(stream, {blocks}, dtype_of<Sum>());
  auto* const sums = memory.view().as<Sum>();
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto* const data = data_of<T>(x);
    const auto kernel =
        aligned(data) ? reduce_kernel<Term, T, true> : reduce_kernel<Term, T, false>;
    kernel<<<blocks, kThreads, 0, native(stream)>>>(sums, data, n);
  });
  finish_kernel<Sum, kAdd><<<1, kThreads, 0, native(stream)>>>(to, sums, static_cast<int>(blocks));
  check_launch();
}

template <class To, class From>
struct Cast {
  To* to;
  const From* from;

  template <int N>
  __device__ void at(std::int64_t i) const {
    store_floats(to, i, load_floats<N>(from, i));
  }
};

template <class W>
void launch_adamw(W* weight, TensorView master, TensorView m, TensorView v, TensorView grad,
                  const AdamWStep& step, Stream& stream) {
  const double bias1 = 1 - std::pow(step.beta1, static_cast<double>(step.t));
  const double bias2 = 1 - std::pow(step.beta2, static_cast<double>(step.t));
  const AdamW<W> body{.weight = weight,
                      .master = master.as<float>(),
                      .m = m.as<float>(),
                      .v = v.as<float>(),
                      .grad = grad.as<float>(),
                      .scale = static_cast<float>(step.grad_scale),
                      .keep = static_cast<float>(1 - step.lr * step.weight_decay),
                      .take1 = static_cast<float>(1 - step.beta1),
                      .beta2 = static_cast<float>(step.beta2),
                      .take2 = static_cast<float>(1 - step.beta2),
                      .rate = static_cast<float>(step.lr / bias1),
                      .root_bias2 = static_cast<float>(std::sqrt(bias2)),
                      .eps = static_cast<float>(step.eps)};
  const bool in_packs = aligned(body.master, body.m, body.v, body.grad) &&
                        reinterpret_cast<std::uintptr_t>(weight) % (sizeof(W) * kPack<float>) == 0;
  launch_elementwise<kPack<float>>(master.size(), in_packs, body, stream);
}

}  // namespace

void adamw(TensorView weight, TensorView master, TensorView m, TensorView v, TensorView grad,
           const AdamWStep& step, Stream& stream) {
  if (weight.empty()) return launch_adamw<float>(nullptr, master, m, v, grad, step, stream);
  HALO_REQUIRE(weight.dtype == DType::kBFloat16,
               str("adamw on a GPU: weights of ", dtype_name(weight.dtype)));
  launch_adamw(data_of<__nv_bfloat16>(weight), master, m, v, grad, step, stream);
}

void add_sum_of_squares(TensorView sum, TensorView x, Stream& stream) {
  if (x.size() > 0) reduce<Square, true>(data_of<double>(sum), x, stream);
}

std::int64_t count_nonfinite(TensorView x, Stream& stream) {
  std::int64_t count = 0;
  if (x.size() == 0) return count;
  const Tensor memory(stream, {1}, DType::kInt64);
  reduce<Nonfinite, false>(data_of<std::int64_t>(memory), x, stream);
  copy(view(&count, {1}), memory, stream);
  return count;
}

void cast(TensorView to, TensorView from, Stream& stream) {
  if (to.dtype == from.dtype) return copy(to, from, stream);
  dispatch_cuda_float(to.dtype, [&](auto to_zero) {
    using To = decltype(to_zero);
    dispatch_cuda_float(from.dtype, [&](auto from_zero) {
      using From = decltype(from_zero);
      const Cast<To, From> body{data_of<To>(to), data_of<From>(from)};
      launch_elementwise<kPack<float>>(to.size(), aligned(body.to, body.from), body, stream);
    });
  });
}

}  // namespace halo::kernels::cuda
