#pragma once
#include "core/base/stream.h"
#include "kernels/vocabulary_part.h"

namespace halo::kernels {

// The losses of losses.h where each rank of an axis holds some columns of the vocabulary. Three passes, with a reduction
// over the ranks after the first two: the maxima of each row, the sums that the loss is made of, the gradient. Sums are
// float64; with all columns on one rank the numbers are those of kl_loss and ce_loss, and the add_ forms are as theirs. They throw Error when shapes, dtypes
// or devices disagree. Zero columns are allowed.

/// maxima (N) = the largest of each row of logits (N, V_r); -inf for no columns. Reduce by maximum.
void row_maxima(TensorView maxima, TensorView logits, Stream& stream);

/// sums (N, 5) float64, to be added over the ranks. student and teacher (N, V_r) logits are overwritten with e^(logit -
/// maximum), with the maxima (N) of the whole rows.
void split_kl_sums(TensorView sums, TensorView student, TensorView teacher,
                   TensorView student_maxima, TensorView teacher_maxima, Stream& stream);
/// From the sums over all columns: student becomes its gradient, and the loss is returned, the same on every rank.
/// counted (N) uint8 or empty.
[[nodiscard]] double split_kl_loss(TensorView student, TensorView teacher, TensorView sums,
                                   TensorView counted, double gradient_scale, Stream& stream);
void add_split_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView sums,
                       TensorView counted, double gradient_scale, Stream& stream);

/// sums (N, 2) float64, to be added over the ranks: of e^(logit - maximum), and the label's logit - maximum on the rank
/// that has its column. labels (N) int32 in the whole vocabulary, -1 for none; logits (N, V_r) are its columns from
/// part.first on, and with `gradient` are overwritten with e^(logit - maximum).
void split_ce_sums(TensorView sums, TensorView logits, TensorView labels, TensorView maxima,
                   const VocabularyPart& part, bool gradient, Stream& stream);
/// From the sums over all columns: with `gradient` logits, as split_ce_sums left them, become their gradient; the loss is
/// returned, the same on every rank.
[[nodiscard]] double split_ce_loss(TensorView logits, TensorView labels, TensorView sums,
                                   const VocabularyPart& part, double gradient_scale, bool gradient,
                                   Stream& stream);
void add_split_ce_loss(TensorView sum, TensorView logits, TensorView labels, TensorView sums,
                       const VocabularyPart& part, double gradient_scale, bool gradient,
                       Stream& stream);

namespace cpu {
void row_maxima(TensorView maxima, TensorView logits, Stream& stream);
void split_kl_sums(TensorView sums, TensorView student, TensorView teacher,
                   TensorView student_maxima, TensorView teacher_maxima, Stream& stream);
double split_kl_loss(TensorView student, TensorView teacher, TensorView sums, TensorView counted,
                     double gradient_scale, Stream& stream);
void split_ce_sums(TensorView sums, TensorView logits, TensorView labels, TensorView maxima,
                   const VocabularyPart& part, bool gradient, Stream& stream);
double split_ce_loss(TensorView logits, TensorView labels, TensorView sums,
                     const VocabularyPart& part, double gradient_scale, bool gradient,
                     Stream& stream);
}  // namespace cpu
namespace cuda {
void row_maxima(TensorView maxima, TensorView logits, Stream& stream);
void split_kl_sums(TensorView sums, TensorView student, TensorView teacher,
                   TensorView student_maxima, TensorView teacher_maxima, Stream& stream);
void add_split_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView sums,
                       TensorView counted, double gradient_scale, Stream& stream);
void split_ce_sums(TensorView sums, TensorView logits, TensorView labels, TensorView maxima,
                   const VocabularyPart& part, bool gradient, Stream& stream);
void add_split_ce_loss(TensorView sum, TensorView logits, TensorView labels, TensorView sums,
                       const VocabularyPart& part, double gradient_scale, bool gradient,
                       Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
