#pragma once
#include "kernels/cuda/launch.cuh"

namespace halo::kernels::cuda {

/// Elements N i ... N i + N - 1 of x, read at once.
template <int N, class T>
__device__ __forceinline__ Pack<float, N> load_floats(const T* x, std::int64_t i) {
  const Pack<T, N> raw = reinterpret_cast<const Pack<T, N>*>(x)[i];
  Pack<float, N> values;
#pragma unroll
  for (int k = 0; k < N; ++k) values.at[k] = to_float(raw.at[k]);
  return values;
}

/// Writes them at once, each rounded to T.
template <int N, class T>
__device__ __forceinline__ void store_floats(T* y, std::int64_t i, const Pack<float, N>& values) {
  Pack<T, N> raw;
#pragma unroll
  for (int k = 0; k < N; ++k) raw.at[k] = from_float<T>(values.at[k]);
  reinterpret_cast<Pack<T, N>*>(y)[i] = raw;
}

/// Whether packs may begin at all of these addresses; null, of an operand that is left out, is one.
template <class... Pointers>
[[nodiscard]] bool aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// body.at<N>(i) for each whole pack of N among n elements, body.at<1>(i) for each element of the rest.
template <int N, class Body>
__global__ void elementwise_kernel(std::int64_t n, Body body) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = thread; i < n / N; i += step) body.template at<N>(i);
  if constexpr (N > 1) {
    const std::int64_t rest = n / N * N + thread;
    if (rest < n) body.template at<1>(rest);
  }
}

/// Runs `body` over n elements, in packs of N where all that it points to is aligned. It must read a pack's operands before
/// it writes its results, so that these may lie over those.
template <int N, class Body>
void launch_elementwise(std::int64_t n, bool in_packs, const Body& body, const Stream& stream) {
  constexpr int kThreads = 256;
  if (n == 0) return;
  if (in_packs) {
    elementwise_kernel<N><<<blocks_for(n / N, kThreads), kThreads, 0, native(stream)>>>(n, body);
  } else {
    elementwise_kernel<1><<<blocks_for(n, kThreads), kThreads, 0, native(stream)>>>(n, body);
  }
  check_launch();
}

}  // namespace halo::kernels::cuda
