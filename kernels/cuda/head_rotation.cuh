#pragma once
#include "kernels/cuda/rms_norm_layout.cuh"
#include "kernels/norm_rope.h"

namespace halo::kernels::cuda::rms {

/// The rotation of a head that a team holds, a pack a thread: those of the first half and of the second are lanes / 2 apart.
template <class T>
struct Rotation {
  const T *cos, *sin;              // (positions, D / 2)
  std::int64_t heads_of_position;  // rows of one position

  explicit Rotation(const HeadRotation& rotation, std::int64_t heads)
      : cos(data_of<T>(rotation.cos)), sin(data_of<T>(rotation.sin)), heads_of_position(heads) {}

  /// x, this thread's pack of `row`, rotated, or with sign = -1 rotated back. Whole warps call it.
  template <class L>
  __device__ __forceinline__ void apply(float (&x)[L::N], std::int64_t row, bool here, int lane,
                                        float sign) const {
    constexpr int kHalf = L::lanes / 2;
    const bool second = lane >= kHalf;
    float c[L::N] = {}, s[L::N] = {};
    if (here) {
      const std::int64_t place =
          (row / heads_of_position * kHalf + (second ? lane - kHalf : lane)) * L::N;
      read_floats(c, cos + place);
      read_floats(s, sin + place);
    }
#pragma unroll
    for (int k = 0; k < L::N; ++k) {
      const float other = __shfl_xor_sync(0xffffffffu, x[k], kHalf), sine = sign * s[k];
      x[k] = second ? fmaf(x[k], c[k], other * sine) : fmaf(x[k], c[k], -(other * sine));
    }
  }
};

struct NoRotation {
  template <class L>
  __device__ __forceinline__ void apply(float (&)[L::N], std::int64_t, bool, int, float) const {}
};

template <class R>
inline constexpr bool kRotates = !std::is_same_v<R, NoRotation>;

/// body(layout) for heads that fill their team, a pack a thread.
template <class T, class Body>
void with_head_layout(std::int64_t D, Body&& body) {
  constexpr int N = kPack<T>;
  if (D == 8 * N) return body(Layout<N, 8, true>{});
  if (D == 16 * N) return body(Layout<N, 16, true>{});
  if (D == 32 * N) return body(Layout<N, 32, true, 1>{});
}

}  // namespace halo::kernels::cuda::rms
