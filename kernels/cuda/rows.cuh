#pragma once
#include "kernels/cuda/launch.cuh"

namespace halo::kernels::cuda {

// Parts of rows, N neighbouring elements at a time: kPack<T> where packed() allows it, else 1.

template <class T, int N>
__device__ __forceinline__ Pack<T, N> read_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <class T, int N>
__device__ __forceinline__ void write_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

template <int N, class T>
__device__ __forceinline__ void read_floats(float (&to)[N], const T* from) {
  const auto pack = read_pack<T, N>(from);
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = to_float(pack.at[k]);
}
template <int N, class T>
__device__ __forceinline__ void write_floats(T* to, const float (&from)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int k = 0; k < N; ++k) pack.at[k] = from_float<T>(from[k]);
  write_pack<T, N>(to, pack);
}

}  // namespace halo::kernels::cuda
