#pragma once
#include <limits>
#include <type_traits>

#include "core/base/tensor.h"
#include "kernels/cuda/rows.cuh"

namespace halo::kernels::cuda {

// Rows of logits: what the losses over whole and over split vocabularies share. A block takes a row.

inline constexpr int kRowThreads = 512;

/// sum (1) float64 += the rows' losses (N) float64, in an order that depends on N alone.
void add_rows(TensorView sum, TensorView losses, Stream& stream);
/// The same, or NaN when a label is outside [-1, V).
void add_rows(TensorView sum, TensorView losses, TensorView labels, std::int64_t V, Stream& stream);

/// Calls body(N) with an integral constant: the length of the packs that rows of V at the pointers may be taken in.
template <class T, class Body, class... Pointers>
void with_packs(Body&& body, std::int64_t V, const Pointers*... pointers) {
  HALO_REQUIRE(V < (std::int64_t{1} << 30),
               str("rows of ", V, " are too long for the GPU's losses"));
  if (packed<T>(V, pointers...)) return body(std::integral_constant<int, kPack<T>>{});
  return body(std::integral_constant<int, 1>{});
}

/// Adds x over the block, in a fixed order; every thread gets the sums.
template <int kThreads, int K>
__device__ __forceinline__ void block_sum(double (&x)[K]) {
  __shared__ double of_warps[K][kThreads / 32], all[K];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    // _rn: not fused with the products that made x, lest equal terms of two sums round differently.
    for (int lane = 16; lane > 0; lane /= 2)
      x[k] = __dadd_rn(x[k], __shfl_xor_sync(0xffffffffu, x[k], lane));
    if (threadIdx.x % 32 == 0) of_warps[k][threadIdx.x / 32] = x[k];
  }
  __syncthreads();
  if (threadIdx.x < K) {
    double sum = 0;
    for (int warp = 0; warp < kThreads / 32; ++warp) sum += of_warps[threadIdx.x][warp];
    all[threadIdx.x] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) x[k] = all[k];
}

/// The largest x of the block of kRowThreads, to every thread. NaN never wins.
template <int K>
__device__ __forceinline__ void block_max(float (&x)[K]) {
  constexpr int kWarps = kRowThreads / 32;
  __shared__ float of_warps[K][kWarps];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    x[k] = warp_max(x[k]);
    if (threadIdx.x % 32 == 0) of_warps[k][threadIdx.x / 32] = x[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) {
    for (int warp = 0; warp < kWarps; ++warp) x[k] = fmaxf(x[k], of_warps[k][warp]);
  }
}

template <int N>
__device__ __forceinline__ float largest_of(const float (&x)[N]) {
  float largest = x[0];
#pragma unroll
  for (int k = 1; k < N; ++k) largest = fmaxf(largest, x[k]);
  return largest;
}

/// The gradient of a row that does not count.
template <int N, int kThreads = kRowThreads, class T>
__device__ __forceinline__ void write_zeros(T* row, int V) {
  constexpr float kZeros[N] = {};
  for (int at = threadIdx.x * N; at < V; at += kThreads * N) write_floats(row + at, kZeros);
}

// Exponentials are summed in one read, of x - shift, where the shift need not be the maximum: it only keeps e^(x - shift)
// within float32. Each thread begins with its first pack's largest and follows what exceeds its shift by kSlack.
inline constexpr float kSlack = 8;
inline constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct ExpSum {
  float shift = kLowest, sum = 0;

  template <int N>
  __device__ __forceinline__ void add(const float (&x)[N]) {
    if (const float largest = largest_of(x); largest > shift + kSlack) {
      sum *= expf(shift - largest);
      shift = largest;
    }
#pragma unroll
    for (int k = 0; k < N; ++k) sum += expf(x[k] - shift);
  }
};

/// Sum of e^(x - shift) over a row.
struct ExpRow {
  double sum;
  float shift;
};
__device__ __forceinline__ ExpRow over_block(const ExpSum& mine) {
  float shift[1] = {mine.shift};
  block_max(shift);
  double sum[1] = {mine.sum * exp(static_cast<double>(mine.shift) - shift[0])};
  block_sum<kRowThreads>(sum);
  return {sum[0], shift[0]};
}

}  // namespace halo::kernels::cuda
