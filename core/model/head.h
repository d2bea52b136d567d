#pragma once
#include "core/model/model_axes.h"
#include "core/model/parameters.h"

namespace halo::model {

/// Rows of logits that exist at once, of each of `models` models.
[[nodiscard]] std::int64_t head_chunk_rows(std::int64_t vocab_size, DType dtype, Device device,
                                           int models);

/// The projection to the vocabulary with the losses on it, in chunks of tokens: whole logits never exist. Along the tensor
/// axis h and dh hold this rank's rows, everything else all rows, and each rank computes its columns of the vocabulary;
/// the losses come out the same on every rank.
class Head {
 public:
  /// `weight` (V, D), the embedding when tied; must outlive the head, as the axes.
  Head(const Parameter& weight, const ModelAxes& axes) : weight_(&weight), axes_(&axes) {}

  /// `sum` (1) float64 on the device += the sum over counted rows of KL(teacher || student). h_student, h_teacher (N, D)
  /// after the final norm; dh (N, D) receives gradient_scale times the gradient of h_student, or is empty for the loss
  /// alone; the head's gradient is added. counted (N) uint8 or empty. The teacher's head may have another width.
  /// Source: oracle `kl_loss`.
  void kl_loss(TensorView sum, TensorView dh, TensorView h_student, TensorView h_teacher,
               const Head& teacher, TensorView counted, double gradient_scale,
               Stream& stream) const;

  /// `sum` += the sum over rows of the cross-entropy with `labels` (N) int32, -1 for none. Source: oracle `ce_loss`.
  void ce_loss(TensorView sum, TensorView dh, TensorView h, TensorView labels,
               double gradient_scale, Stream& stream) const;

  /// For evaluation on a rank that computes alone: row_loss (N) float64 and greedy (N) int32, either may be empty; see kernels::token_log_likelihood.
  void log_likelihood(TensorView row_loss, TensorView greedy, TensorView h, TensorView labels,
                      Stream& stream) const;

  /// logits (N, V) of this rank's columns, for few rows.
  void logits(TensorView out, TensorView h, Stream& stream) const;

 private:
  [[nodiscard]] std::int64_t rows_at_once(TensorView h, int models, const Stream& stream) const;
  void backward_chunk(TensorView dh, TensorView h, TensorView dlogits, Stream& stream) const;
  void kl_chunk(TensorView sum, TensorView z, TensorView y, TensorView counted,
                double gradient_scale, Stream& stream) const;
  void ce_chunk(TensorView sum, TensorView z, TensorView labels, double gradient_scale,
                bool gradient, Stream& stream) const;
  const Parameter* weight_;
  const ModelAxes* axes_;
};

}  // namespace halo::model
