#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// Rows whose channels are cut among ranks: what each has of them is normalised with sums over all.
struct SplitRows {
  TensorView
      sums;  // (N) wide: forward of x^2, backward of dy * weight * x, added over the ranks; empty: whole rows
  std::int64_t channels = 0;  // of a whole row
};
/// sums (N) wide = this rank's part of them, for the forward and the backward pass.
void row_squares(TensorView sums, TensorView x, Stream& stream);
void row_dots(TensorView sums, TensorView dy, TensorView x, TensorView weight, Stream& stream);

/// Root-mean-square normalisation of the last axis: y = x / sqrt(mean(x^2) + eps) * weight.
///
/// Shapes   x, y (N, D) dense; weight (D); inv_rms (N) in the wide dtype, saved for the backward pass. Normalising each
///          head is N = T*B*H rows of D = K.
/// Numerics sums in float32 (float64 in FP64); x / rms is rounded to the dtype of x before it meets the weight.
/// Aliasing y may be x (then rms_norm_backward needs another copy of x).
/// Throws   Error when shapes, dtypes or devices disagree, or eps <= 0.
/// Source   Zhang & Sennrich 2019, eq. 4; oracle `rms_norm`.
void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream, const SplitRows& split = {});

/// dx (N, D) = the gradient of x, added to dx when `accumulate`; dweight (D, wide dtype) += that of the weight, or
/// empty for a frozen weight. dy (N, D); x, weight and inv_rms as the forward pass had them.
/// Aliasing dx may be dy. dweight sums rows in an order that depends on N alone.
void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream,
                       const SplitRows& split = {});

namespace cpu {
void row_squares(TensorView sums, TensorView x, Stream& stream);
void row_dots(TensorView sums, TensorView dy, TensorView x, TensorView weight, Stream& stream);
void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream, const SplitRows& split);
void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream,
                       const SplitRows& split);
}  // namespace cpu
namespace cuda {
void row_squares(TensorView sums, TensorView x, Stream& stream);
void row_dots(TensorView sums, TensorView dy, TensorView x, TensorView weight, Stream& stream);
void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream, const SplitRows& split);
void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream,
                       const SplitRows& split);
}  // namespace cuda
}  // namespace halo::kernels
