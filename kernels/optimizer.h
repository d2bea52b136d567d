#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// One AdamW step's numbers.
struct AdamWStep {
  double lr = 0;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  std::int64_t t = 1;       // steps counted from 1, for the bias corrections
  double grad_scale = 1.0;  // gradient clipping's factor
};

/// One AdamW update of flat arrays of N elements: with g = grad_scale * grad,
///   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  master -= lr (m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps) + weight_decay
///   master), decay applied before the step as PyTorch does.
/// Shapes   master, m, v, grad (N), all wide (float32, or float64 in FP64). weight (N) of a narrower dtype receives the
///          rounded masters, or is empty. Scalars are computed in float64.
/// Source   Loshchilov & Hutter 2019; oracle make_golden `train` (torch.optim.AdamW).
void adamw(TensorView weight, TensorView master, TensorView m, TensorView v, TensorView grad,
           const AdamWStep& step, Stream& stream);
inline void adamw(TensorView master, TensorView m, TensorView v, TensorView grad,
                  const AdamWStep& step, Stream& stream) {
  adamw({}, master, m, v, grad, step, stream);
}

/// Sum of squares of a flat array, in float64 and in an order that depends on its length alone.
[[nodiscard]] double sum_of_squares(TensorView x, Stream& stream);
/// Adds it to `sum` (1) float64 on the device, and waits for nothing.
void add_sum_of_squares(TensorView sum, TensorView x, Stream& stream);
/// How many elements are infinite or NaN.
[[nodiscard]] std::int64_t count_nonfinite(TensorView x, Stream& stream);
/// to = from in another floating dtype, rounded to nearest even. Contiguous, equal shapes.
void cast(TensorView to, TensorView from, Stream& stream);

namespace cpu {
void adamw(TensorView master, TensorView m, TensorView v, TensorView grad, const AdamWStep& step,
           Stream& stream);
double sum_of_squares(TensorView x, Stream& stream);
std::int64_t count_nonfinite(TensorView x, Stream& stream);
void cast(TensorView to, TensorView from, Stream& stream);
}  // namespace cpu
namespace cuda {
void adamw(TensorView weight, TensorView master, TensorView m, TensorView v, TensorView grad,
           const AdamWStep& step, Stream& stream);
void add_sum_of_squares(TensorView sum, TensorView x, Stream& stream);
std::int64_t count_nonfinite(TensorView x, Stream& stream);
void cast(TensorView to, TensorView from, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
