#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "core/base/cuda/check.h"
#include "core/base/stream.h"

namespace halo::kernels::cuda {

[[nodiscard]] inline cudaStream_t native(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.queue().native());
}

/// After every launch.
inline void check_launch() { HALO_CUDA_CHECK(cudaGetLastError()); }

/// Blocks of `threads` that cover n items, at most `most` (kernels then stride over the rest). At least 1.
[[nodiscard]] inline unsigned blocks_for(std::int64_t n, int threads, std::int64_t most = 1 << 20) {
  return static_cast<unsigned>(std::clamp<std::int64_t>((n + threads - 1) / threads, 1, most));
}

/// Calls `body` with a value of the C++ type that the GPU's kernels read and write: float or __nv_bfloat16.
template <class Body>
void dispatch_cuda_float(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(float{});
    case DType::kBFloat16:
      return body(__nv_bfloat16{});
    default:
      break;
  }
  throw Error(str("the GPU's kernels compute in float32 and bfloat16, not in ", dtype_name(dtype)));
}

/// The elements of a view as T, of which BFloat16 is __nv_bfloat16 on a GPU.
template <class T>
[[nodiscard]] T* data_of(const TensorView& x) {
  return static_cast<T*>(x.data);
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// N neighbouring elements that are read and written together, in at most 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <class T>
inline constexpr int kPack = 16 / sizeof(T);

/// Whether rows of `length` elements at `pointers` may be taken in packs.
template <class T, class... Pointers>
[[nodiscard]] bool packed(std::int64_t length, const Pointers*... pointers) {
  return length % kPack<T> == 0 &&
         ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ... && true);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}

}  // namespace halo::kernels::cuda
