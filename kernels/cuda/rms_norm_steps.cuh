#pragma once
#include <type_traits>

#include "kernels/cuda/rms_norm_layout.cuh"
#include "kernels/cuda/sigmoid.cuh"

namespace halo::kernels::cuda::rms {

// What the kernels do beside the norm while they have a row in registers.

struct NoStep {};

struct RotationStep {};  // see head_rotation.cuh
template <class Step>
inline constexpr bool kRotates = std::is_base_of_v<RotationStep, Step>;

/// The norm's output times sigmoid(z). Backward: dz, and the gated output once more.
template <class T>
struct GateStep {
  const T* z;
  T *dz, *y;  // of the backward pass; y may be null

  /// out, a pack of the norm's output.
  template <int N>
  __device__ __forceinline__ void apply(float (&out)[N], std::int64_t place) const {
    float gate[N];
    read_floats(gate, z + place);
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = to_float(from_float<T>(out[k])) * Sigmoid(gate[k]).s;
  }

  /// d, the gradient of the gated output, becomes that of the norm's; n is the norm's output.
  template <int N>
  __device__ __forceinline__ void apply_backward(Pack<T, N>& d, const float (&n)[N],
                                                 std::int64_t place) const {
    float gate[N], output[N];
    read_floats(gate, z + place);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Sigmoid sigmoid(gate[k]);
      const float dy = to_float(d.at[k]);
      d.at[k] = from_float<T>(dy * sigmoid.s);
      gate[k] = dy * n[k] * (sigmoid.s * sigmoid.complement);
      output[k] = n[k] * sigmoid.s;
    }
    write_floats(dz + place, gate);
    if (y != nullptr) write_floats(y + place, output);
  }
};
template <class Step>
inline constexpr bool kGates = false;
template <class T>
inline constexpr bool kGates<GateStep<T>> = true;

}  // namespace halo::kernels::cuda::rms
