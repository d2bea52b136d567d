#include "core/model/head.h"

#include <algorithm>

#include "kernels/losses.h"
#include "kernels/matmul.h"

namespace halo::model {
namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{64} << 20;  // of one model's logits

/// body(begin, end) for each chunk of rows.
template <class Body>
void for_each_chunk(std::int64_t N, std::int64_t rows, Body&& body) {
  for (std::int64_t begin = 0; begin < N; begin += rows) body(begin, std::min(N, begin + rows));
}

TensorView rows_of(TensorView x, std::int64_t begin, std::int64_t end) {
  return x.empty() ? x : x.slice(0, begin, end);
}

}  // namespace

std::int64_t head_chunk_rows(std::int64_t vocab_size, DType dtype) {
  const std::int64_t row = vocab_size * static_cast<std::int64_t>(dtype_size(dtype));
  return std::clamp<std::int64_t>(kChunkBytes / row, 128, 1024);
}

void Head::logits(TensorView out, TensorView h, Stream& stream) const {
  kernels::linear(out, h, weight_->weight, stream);
}

void Head::backward_chunk(TensorView dh, TensorView h, TensorView dlogits, Stream& stream) const {
  kernels::linear_backward_input(dh, dlogits, weight_->weight, /*accumulate=*/false, stream);
  add_matrix_gradient(*weight_, dlogits, h, stream);
}

double Head::kl_loss(TensorView dh, TensorView h_student, TensorView h_teacher, const Head& teacher,
                     TensorView counted, double gradient_scale, Stream& stream) const {
  const std::int64_t V = weight_->weight.dim(0), N = h_student.dim(0);
  const std::int64_t rows = std::min(N, head_chunk_rows(V, h_student.dtype));
  Tensor student_logits(stream, {rows, V}, h_student.dtype),
      teacher_logits(stream, {rows, V}, h_student.dtype);
  double sum = 0.0;
  for_each_chunk(N, rows, [&](std::int64_t begin, std::int64_t end) {
    const TensorView z = student_logits.view().slice(0, 0, end - begin);
    const TensorView y = teacher_logits.view().slice(0, 0, end - begin);
    const TensorView h = rows_of(h_student, begin, end);
    logits(z, h, stream);
    teacher.logits(y, rows_of(h_teacher, begin, end), stream);
    sum += kernels::kl_loss(z, y, rows_of(counted, begin, end), gradient_scale, stream);
    if (!dh.empty()) backward_chunk(rows_of(dh, begin, end), h, z, stream);
  });
  return sum;
}

double Head::ce_loss(TensorView dh, TensorView h, TensorView labels, double gradient_scale,
                     Stream& stream) const {
  const std::int64_t V = weight_->weight.dim(0), N = h.dim(0);
  const std::int64_t rows = std::min(N, head_chunk_rows(V, h.dtype));
  Tensor buffer(stream, {rows, V}, h.dtype);
  double sum = 0.0;
  for_each_chunk(N, rows, [&](std::int64_t begin, std::int64_t end) {
    const TensorView z = buffer.view().slice(0, 0, end - begin);
    const TensorView part = rows_of(h, begin, end);
    logits(z, part, stream);
    sum += kernels::ce_loss(z, rows_of(labels, begin, end), gradient_scale, !dh.empty(), stream);
    if (!dh.empty()) backward_chunk(rows_of(dh, begin, end), part, z, stream);
  });
  return sum;
}

void Head::log_likelihood(TensorView row_loss, TensorView greedy, TensorView h, TensorView labels,
                          Stream& stream) const {
  const std::int64_t V = weight_->weight.dim(0), N = h.dim(0);
  const std::int64_t rows = std::min(N, head_chunk_rows(V, h.dtype));
  Tensor buffer(stream, {rows, V}, h.dtype);
  for_each_chunk(N, rows, [&](std::int64_t begin, std::int64_t end) {
    const TensorView z = buffer.view().slice(0, 0, end - begin);
    logits(z, rows_of(h, begin, end), stream);
    kernels::token_log_likelihood(rows_of(row_loss, begin, end), rows_of(greedy, begin, end), z,
                                  rows_of(labels, begin, end), stream);
  });
}

}  // namespace halo::model
