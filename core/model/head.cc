#include "core/model/head.h"

#include <algorithm>

#include "kernels/losses.h"
#include "kernels/matmul.h"
#include "kernels/split_losses.h"

namespace halo::model {
namespace {

/// Of one model's logits. A GPU's chunks are long: each adds to the whole of the head's gradient, which costs as much time
/// as 500 rows.
std::int64_t chunk_bytes(Device device, int models) {
  return (device == Device::kCuda ? std::int64_t{1920} / models : 64) << 20;
}

/// body(begin, end) for each chunk of rows.
template <class Body>
void for_each_chunk(std::int64_t N, std::int64_t rows, Body&& body) {
  for (std::int64_t begin = 0; begin < N; begin += rows) body(begin, std::min(N, begin + rows));
}

TensorView rows_of(TensorView x, std::int64_t begin, std::int64_t end) {
  return x.empty() ? x : x.slice(0, begin, end);
}

}  // namespace

std::int64_t head_chunk_rows(std::int64_t vocab_size, DType dtype, Device device, int models) {
  const std::int64_t row = vocab_size * static_cast<std::int64_t>(dtype_size(dtype));
  return std::clamp<std::int64_t>(chunk_bytes(device, models) / row, 128,
                                  device == Device::kCuda ? 8192 : 1024);
}

/// By the largest part of the vocabulary, so that ranks whose parts differ by one go on together.
std::int64_t Head::rows_at_once(TensorView h, int models, const Stream& stream) const {
  const std::int64_t ranks = axes_->tensor.size(), V = weight_->global_shape[0];
  const std::int64_t most =
      head_chunk_rows((V + ranks - 1) / ranks, h.dtype, stream.stands_for(), models);
  const std::int64_t chunks = std::max<std::int64_t>((h.dim(0) + most - 1) / most, 1);
  const std::int64_t rows = (h.dim(0) + chunks - 1) / chunks;
  constexpr std::int64_t kTile = 128;  // of a GPU's products
  return stream.stands_for() == Device::kCuda && rows < h.dim(0)
             ? (rows + kTile - 1) / kTile * kTile
             : rows;
}

void Head::logits(TensorView out, TensorView h, Stream& stream) const {
  kernels::linear(out, h, weight_->weight, stream);
}

void Head::backward_chunk(TensorView dh, TensorView h, TensorView dlogits, Stream& stream) const {
  kernels::linear_backward_input(dh, dlogits, weight_->weight, /*accumulate=*/false, stream);
  add_matrix_gradient(*weight_, dlogits, h, stream);
}

/// The loss of a chunk of rows; z becomes its gradient.
void Head::kl_chunk(TensorView sum, TensorView z, TensorView y, TensorView counted,
                    double gradient_scale, Stream& stream) const {
  const parallel::TensorAxis& axis = axes_->tensor;
  if (axis.size() == 1) return kernels::add_kl_loss(sum, z, y, counted, gradient_scale, stream);
  const std::int64_t N = z.dim(0);
  const Tensor maxima(stream, {2, N}, z.dtype), sums(stream, {N, 5}, DType::kFloat64);
  const TensorView of_z = maxima.view().select(0, 0), of_y = maxima.view().select(0, 1);
  kernels::row_maxima(of_z, z, stream);
  kernels::row_maxima(of_y, y, stream);
  axis.all_reduce(maxima, comm::ReduceOp::kMax);
  kernels::split_kl_sums(sums, z, y, of_z, of_y, stream);
  axis.all_reduce(sums, comm::ReduceOp::kSum);
  kernels::add_split_kl_loss(sum, z, y, sums, counted, gradient_scale, stream);
}

void Head::ce_chunk(TensorView sum, TensorView z, TensorView labels, double gradient_scale,
                    bool gradient, Stream& stream) const {
  const parallel::TensorAxis& axis = axes_->tensor;
  if (axis.size() == 1)
    return kernels::add_ce_loss(sum, z, labels, gradient_scale, gradient, stream);
  const std::int64_t N = z.dim(0);
  const kernels::VocabularyPart part{weight_->region.offset[0], weight_->global_shape[0]};
  const Tensor maxima(stream, {N}, z.dtype), sums(stream, {N, 2}, DType::kFloat64);
  kernels::row_maxima(maxima, z, stream);
  axis.all_reduce(maxima, comm::ReduceOp::kMax);
  kernels::split_ce_sums(sums, z, labels, maxima, part, gradient, stream);
  axis.all_reduce(sums, comm::ReduceOp::kSum);
  kernels::add_split_ce_loss(sum, z, labels, sums, part, gradient_scale, gradient, stream);
}

void Head::kl_loss(TensorView sum, TensorView dh, TensorView h_student, TensorView h_teacher,
                   const Head& teacher, TensorView counted, double gradient_scale,
                   Stream& stream) const {
  const parallel::TensorAxis& axis = axes_->tensor;
  const parallel::Gathered student_rows = axis.gather(h_student, stream);
  const parallel::Gathered teacher_rows = axis.gather(h_teacher, stream);
  const TensorView h_all = student_rows.view();
  const std::int64_t V = weight_->weight.dim(0), N = h_all.dim(0);
  const std::int64_t rows = rows_at_once(h_all, 2, stream);
  const Tensor student_logits(stream, {rows, V}, h_all.dtype),
      teacher_logits(stream, {rows, V}, h_all.dtype);
  const auto run = [&](const TensorView& dh_all) {
    for_each_chunk(N, rows, [&](std::int64_t begin, std::int64_t end) {
      const TensorView z = student_logits.view().slice(0, 0, end - begin);
      const TensorView y = teacher_logits.view().slice(0, 0, end - begin);
      const TensorView h = rows_of(h_all, begin, end);
      logits(z, h, stream);
      teacher.logits(y, rows_of(teacher_rows, begin, end), stream);
      kl_chunk(sum, z, y, rows_of(counted, begin, end), gradient_scale, stream);
      if (!dh_all.empty()) backward_chunk(rows_of(dh_all, begin, end), h, z, stream);
    });
  };
  if (dh.empty())
    run({});
  else
    axis.reduce_scatter(dh, run, stream);
}

void Head::ce_loss(TensorView sum, TensorView dh, TensorView h, TensorView labels,
                   double gradient_scale, Stream& stream) const {
  const parallel::TensorAxis& axis = axes_->tensor;
  const parallel::Gathered gathered = axis.gather(h, stream);
  const TensorView h_all = gathered.view();
  const std::int64_t V = weight_->weight.dim(0), N = h_all.dim(0);
  const std::int64_t rows = rows_at_once(h_all, 1, stream);
  const Tensor buffer(stream, {rows, V}, h.dtype);
  const auto run = [&](const TensorView& dh_all) {
    for_each_chunk(N, rows, [&](std::int64_t begin, std::int64_t end) {
      const TensorView z = buffer.view().slice(0, 0, end - begin);
      const TensorView part = rows_of(h_all, begin, end);
      logits(z, part, stream);
      ce_chunk(sum, z, rows_of(labels, begin, end), gradient_scale, !dh_all.empty(), stream);
      if (!dh_all.empty()) backward_chunk(rows_of(dh_all, begin, end), part, z, stream);
    });
  };
  if (dh.empty())
    run({});
  else
    axis.reduce_scatter(dh, run, stream);
}

void Head::log_likelihood(TensorView row_loss, TensorView greedy, TensorView h, TensorView labels,
                          Stream& stream) const {
  const std::int64_t V = weight_->weight.dim(0), N = h.dim(0);
  const std::int64_t rows = rows_at_once(h, 1, stream);
  Tensor buffer(stream, {rows, V}, h.dtype);
  for_each_chunk(N, rows, [&](std::int64_t begin, std::int64_t end) {
    const TensorView z = buffer.view().slice(0, 0, end - begin);
    logits(z, rows_of(h, begin, end), stream);
    kernels::token_log_likelihood(rows_of(row_loss, begin, end), rows_of(greedy, begin, end), z,
                                  rows_of(labels, begin, end), stream);
  });
}

}  // namespace halo::model
