#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// y = rms_norm(x) * sigmoid(z), a mixer's output norm and gate in one pass over memory where the device has one. The
/// numbers are those of the two.
/// Shapes   x, y, z (N, D) dense; weight (D); inv_rms (N) wide, saved for the backward pass.
/// Aliasing y overlaps neither x nor z.
/// Throws   Error as the two do.
/// Source   oracle `lightning_mixer`.
void norm_gate(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, TensorView z,
               double eps, Stream& stream);

/// d, the gradient of y, becomes that of x, and z its own gradient; y = norm_gate's output once more, which costs less
/// than keeping it, or empty; dweight (D) wide += the weight's, or is empty.
/// Aliasing None.
void norm_gate_backward(TensorView d, TensorView dweight, TensorView y, TensorView z, TensorView x,
                        TensorView weight, TensorView inv_rms, double eps, Stream& stream);

namespace cuda {
/// Whether the one pass takes rows of D channels, all operands beginning at multiples of 16 bytes.
[[nodiscard]] bool norm_gate_takes(DType dtype, std::int64_t D);
void norm_gate(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, TensorView z,
               double eps, Stream& stream);
void norm_gate_backward(TensorView d, TensorView dweight, TensorView y, TensorView z, TensorView x,
                        TensorView weight, TensorView inv_rms, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
