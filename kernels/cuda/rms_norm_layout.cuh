#pragma once
#include "kernels/cuda/rows.cuh"
#include "kernels/rms_norm.h"

namespace halo::kernels::cuda::rms {

inline constexpr int kThreads = 256;

/// A row belongs to a team of `kLanes` threads, a part of a warp or a whole block, that takes it in packs of N elements.
/// Where it fits, each thread keeps its packs, at most `items`, in registers: a row is read once. Fewer items leave room for
/// more blocks on an SM, which hide more of memory's latency.
template <int kPackSize, int kLanes, bool kFits, int kItems = kFits&& kLanes >= 32 ? 4 : 1>
struct Layout {
  static constexpr int N = kPackSize;
  static constexpr int lanes = kLanes;
  static constexpr bool fits = kFits;
  static constexpr int items = kItems;
  static constexpr int teams = kThreads / kLanes;
  // Blocks of the backward pass, some an SM of an H100: constant, since dweight's order must not depend on the GPU.
  static constexpr int blocks_per_sm = items == 1 ? 4 : items == 2 ? 3 : 2;
  static constexpr int most_blocks = kLanes == kThreads ? 132 * blocks_per_sm : 792;
};

template <class T, class Body>
void with_layout(std::int64_t D, bool packs, Body&& body) {
  if (!packs) {
    if (D <= 4 * 32) return body(Layout<1, 32, true>{});
    if (D <= 4 * kThreads) return body(Layout<1, kThreads, true>{});
    return body(Layout<1, kThreads, false>{});
  }
  constexpr int N = kPack<T>;
  if (D <= 8 * N) return body(Layout<N, 4, true, 2>{});
  if (D <= 16 * N) return body(Layout<N, 8, true, 2>{});
  if (D <= 32 * N) return body(Layout<N, 16, true, 2>{});
  if (D <= 4 * 32 * N) return body(Layout<N, 32, true>{});
  if (D <= kThreads * N) return body(Layout<N, kThreads, true, 1>{});
  if (D <= 4 * kThreads * N) return body(Layout<N, kThreads, true>{});
  return body(Layout<N, kThreads, false>{});
}

/// body(item, pack) for this thread's packs of a row of `packs`.
template <class L, class Body>
__device__ __forceinline__ void for_items(int lane, int packs, Body body) {
  if constexpr (L::fits) {
#pragma unroll
    for (int i = 0; i < L::items; ++i) {
      const int at = i * L::lanes + lane;
      if (at < packs) body(i, at);
    }
  } else {
    for (int at = lane; at < packs; at += L::lanes) body(0, at);
  }
}

/// The team's sum, to all of it. Every thread of the block calls this; a caller's next call needs other memory.
template <class L>
__device__ __forceinline__ float team_sum(float x, float (&of_warps)[kThreads / 32]) {
  if constexpr (L::lanes <= 32) {
#pragma unroll
    for (int lane = L::lanes / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  } else {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
#pragma unroll
    for (int warp = 0; warp < kThreads / 32; ++warp) x += of_warps[warp];
  }
  return x;
}

/// Blocks for one row a team.
template <class L>
unsigned blocks_of(std::int64_t N) {
  return blocks_for(N, L::teams, std::int64_t{1} << 31);
}

inline float channels_of(const TensorView& x, const SplitRows& split) {
  return static_cast<float>(split.sums.empty() ? x.dim(1) : split.channels);
}

}  // namespace halo::kernels::cuda::rms
