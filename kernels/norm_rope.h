#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// What a projection's heads go through before attention: rms_norm of each head, then apply_rope, in one pass over memory
/// where the device has one. The numbers are those of the two.
struct HeadRotation {
  TensorView cos, sin;  // (T, K/2); empty for none
};

/// y = apply_rope(rms_norm(x)).
/// Shapes   x, y (T, B, H, K) dense; weight (K); inv_rms (T * B * H) wide, saved for the backward pass.
/// Aliasing y does not overlap x.
/// Throws   Error as the two do.
void norm_rope(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
               const HeadRotation& rotation, Stream& stream);

/// d, the gradient of y, becomes that of x; dweight (K) wide += that of the weight, or is empty.
void norm_rope_backward(TensorView d, TensorView dweight, TensorView x, TensorView weight,
                        TensorView inv_rms, const HeadRotation& rotation, Stream& stream);

namespace cuda {
/// Whether the one pass takes heads of K channels.
[[nodiscard]] bool norm_rope_takes(DType dtype, std::int64_t K);
void norm_rope(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
               const HeadRotation& rotation, Stream& stream);
void norm_rope_backward(TensorView d, TensorView dweight, TensorView x, TensorView weight,
                        TensorView inv_rms, const HeadRotation& rotation, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
