#pragma once
#include "kernels/cuda/rms_norm_steps.cuh"
#include "kernels/norm_rope.h"

namespace halo::kernels::cuda::rms {

/// The rotation of a head that a team holds, two packs a thread: one of the first half and its partner of the second.
template <class T>
struct Rotation : RotationStep {
  const T *cos, *sin;              // (positions, D / 2)
  std::int64_t heads_of_position;  // rows of one position

  explicit Rotation(const HeadRotation& rotation, std::int64_t heads)
      : cos(data_of<T>(rotation.cos)), sin(data_of<T>(rotation.sin)), heads_of_position(heads) {}

  /// x, this thread's packs of `row`, rotated, or with sign = -1 rotated back.
  template <class L>
  __device__ __forceinline__ void apply(float (&x)[2][L::N], std::int64_t row, int lane,
                                        float sign) const {
    const std::int64_t place = (row / heads_of_position * L::lanes + lane) * L::N;
    float c[L::N], s[L::N];
    read_floats(c, cos + place);
    read_floats(s, sin + place);
#pragma unroll
    for (int k = 0; k < L::N; ++k) {
      const float first = x[0][k], second = x[1][k], sine = sign * s[k];
      x[0][k] = fmaf(first, c[k], -(second * sine));
      x[1][k] = fmaf(second, c[k], first * sine);
    }
  }
};

/// body(layout) for heads that fill their team, two packs a thread; the same as with_layout's, so that sums have one order.
template <class T, class Body>
void with_head_layout(std::int64_t D, Body&& body) {
  constexpr int N = kPack<T>;
  if (D == 8 * N) return body(Layout<N, 4, true, 2>{});
  if (D == 16 * N) return body(Layout<N, 8, true, 2>{});
  if (D == 32 * N) return body(Layout<N, 16, true, 2>{});
}

}  // namespace halo::kernels::cuda::rms
