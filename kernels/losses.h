#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

// Losses of N rows (tokens). Each returns the plain sum over the counted rows, in float64 and in row order, and writes
// the gradient times `gradient_scale` (one over the global count: the one division of the method). `counted` (N) uint8
// names the rows that count; empty means all. Rows that do not count give loss 0 and gradient 0. Bits do not depend on
// the number of threads. They throw Error when shapes, dtypes or devices disagree.
// On a GPU a returned sum has been waited for. The add_ form of each, for training, adds it to `sum` (1) float64 on the
// device instead, and waits for nothing.

/// Mean squared error before its division: sum over rows and channels of (student - teacher)^2.
/// Shapes student, teacher, dstudent (N, D); dstudent = 2 gradient_scale (student - teacher), may be student.
/// Source oracle `stage1_loss`.
double mse_loss(TensorView dstudent, TensorView student, TensorView teacher, TensorView counted,
                double gradient_scale, Stream& stream);
void add_mse_loss(TensorView sum, TensorView dstudent, TensorView student, TensorView teacher,
                  TensorView counted, double gradient_scale, Stream& stream);

/// Sum over rows of KL(softmax(teacher) || softmax(student)).
/// Shapes student, teacher (N, V) logits; `student` is overwritten with its gradient
///        gradient_scale * (softmax(student) - softmax(teacher)).
/// Numerics with maxima m_s, m_t and l = (y-m_t)-(z-m_s): A = sum e^(y-m_t) l, KL = A/Z_t - ln Z_t + ln Z_s; where Z_s
///        is near Z_t, in the equal form that sums e^(y-m_t) (l + e^-l - 1), which does not cancel: small divergences
///        keep their digits, equal logits give exactly 0. Terms are float32 (float64 in FP64), logits finite.
/// Source oracle `kl_loss`.
double kl_loss(TensorView student, TensorView teacher, TensorView counted, double gradient_scale,
               Stream& stream);
void add_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView counted,
                 double gradient_scale, Stream& stream);

/// Sum over rows of -log softmax(logits)[label]; label -1 does not count.
/// Shapes logits (N, V), overwritten with gradient_scale * (softmax - one_hot), or left alone when `gradient` is false;
///        labels (N) int32 in [-1, V).
/// Throws Error for another label; add_ce_loss on a GPU makes the sum NaN.
/// Source oracle `ce_loss`.
double ce_loss(TensorView logits, TensorView labels, double gradient_scale, bool gradient,
               Stream& stream);
void add_ce_loss(TensorView sum, TensorView logits, TensorView labels, double gradient_scale,
                 bool gradient, Stream& stream);

/// For evaluation: row_loss[n] (float64) = -log softmax(logits[n])[label[n]] (0 for label -1) and greedy[n] (int32) =
/// argmax, the lowest index on ties. Either may be empty.
void token_log_likelihood(TensorView row_loss, TensorView greedy, TensorView logits,
                          TensorView labels, Stream& stream);

namespace cpu {
double mse_loss(TensorView dstudent, TensorView student, TensorView teacher, TensorView counted,
                double gradient_scale, Stream& stream);
double kl_loss(TensorView student, TensorView teacher, TensorView counted, double gradient_scale,
               Stream& stream);
double ce_loss(TensorView logits, TensorView labels, double gradient_scale, bool gradient,
               Stream& stream);
void token_log_likelihood(TensorView row_loss, TensorView greedy, TensorView logits,
                          TensorView labels, Stream& stream);
}  // namespace cpu
namespace cuda {
void add_mse_loss(TensorView sum, TensorView dstudent, TensorView student, TensorView teacher,
                  TensorView counted, double gradient_scale, Stream& stream);
void add_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView counted,
                 double gradient_scale, Stream& stream);
void add_ce_loss(TensorView sum, TensorView logits, TensorView labels, double gradient_scale,
                 bool gradient, Stream& stream);
/// Throws Error for a label outside [-1, V). Waits.
void check_labels(TensorView labels, std::int64_t V, Stream& stream);
void token_log_likelihood(TensorView row_loss, TensorView greedy, TensorView logits,
                          TensorView labels, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
