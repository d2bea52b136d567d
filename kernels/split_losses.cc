#include "kernels/split_losses.h"

#include <cmath>

#include "kernels/checks.h"
#include "kernels/device_sum.h"
#include "kernels/losses.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

void check_rows(std::string_view op, const TensorView& logits) {
  HALO_REQUIRE(logits.rank() == 2,
               str(op, ": logits are ", to_string(logits.shape), ", not (N, V)"));
  require_operand(op, "logits", logits, logits.shape, logits.dtype, logits.device);
}

/// One a row of `logits`.
void check_column(std::string_view op, std::string_view name, const TensorView& column,
                  const TensorView& logits, DType dtype) {
  require_operand(op, name, column, {logits.dim(0)}, dtype, logits.device);
}

void check_part(std::string_view op, const TensorView& logits, const VocabularyPart& part) {
  HALO_REQUIRE(part.first >= 0 && part.first + logits.dim(1) <= part.size,
               str(op, ": ", logits.dim(1), " columns from ", part.first, " on of ", part.size));
}

void check_scale(std::string_view op, double gradient_scale) {
  HALO_REQUIRE(std::isfinite(gradient_scale), str(op, ": gradient_scale is ", gradient_scale));
}

void check_split_ce(const TensorView& logits, const TensorView& labels, const TensorView& sums,
                    const VocabularyPart& part, double gradient_scale) {
  constexpr const char* kOp = "split_ce_loss";
  check_rows(kOp, logits);
  check_column(kOp, "labels", labels, logits, DType::kInt32);
  require_operand(kOp, "sums", sums, {logits.dim(0), 2}, DType::kFloat64, logits.device);
  check_part(kOp, logits, part);
  check_scale(kOp, gradient_scale);
}

}  // namespace

void row_maxima(TensorView maxima, TensorView logits, Stream& stream) {
  constexpr const char* kOp = "row_maxima";
  check_rows(kOp, logits);
  check_column(kOp, "maxima", maxima, logits, logits.dtype);
  if (only_counted(kOp, {logits}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::row_maxima(maxima, logits, stream),
                 cuda::row_maxima(maxima, logits, stream));
}

void split_kl_sums(TensorView sums, TensorView student, TensorView teacher,
                   TensorView student_maxima, TensorView teacher_maxima, Stream& stream) {
  constexpr const char* kOp = "split_kl_sums";
  check_rows(kOp, student);
  require_operand(kOp, "teacher", teacher, student.shape, student.dtype, student.device);
  require_disjoint(kOp, "student", student, "teacher", teacher);
  require_operand(kOp, "sums", sums, {student.dim(0), 5}, DType::kFloat64, student.device);
  check_column(kOp, "student_maxima", student_maxima, student, student.dtype);
  check_column(kOp, "teacher_maxima", teacher_maxima, student, student.dtype);
  if (only_counted(kOp, {student, teacher}, stream)) return;
  HALO_ON_DEVICE(
      stream, cpu::split_kl_sums(sums, student, teacher, student_maxima, teacher_maxima, stream),
      cuda::split_kl_sums(sums, student, teacher, student_maxima, teacher_maxima, stream));
}

double split_kl_loss(TensorView student, TensorView teacher, TensorView sums, TensorView counted,
                     double gradient_scale, Stream& stream) {
  return device_sum(stream, [&](const TensorView& sum) {
    add_split_kl_loss(sum, student, teacher, sums, counted, gradient_scale, stream);
  });
}

void add_split_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView sums,
                       TensorView counted, double gradient_scale, Stream& stream) {
  constexpr const char* kOp = "split_kl_loss";
  check_rows(kOp, student);
  require_operand(kOp, "teacher", teacher, student.shape, student.dtype, student.device);
  require_operand(kOp, "sums", sums, {student.dim(0), 5}, DType::kFloat64, student.device);
  if (!counted.empty()) check_column(kOp, "counted", counted, student, DType::kUint8);
  check_scale(kOp, gradient_scale);
  require_operand(kOp, "sum", sum, {1}, DType::kFloat64, student.device);
  if (only_counted(kOp, {student, student, teacher}, stream)) return;
  HALO_ON_DEVICE(
      stream,
      add_to(sum, cpu::split_kl_loss(student, teacher, sums, counted, gradient_scale, stream)),
      cuda::add_split_kl_loss(sum, student, teacher, sums, counted, gradient_scale, stream));
}

void split_ce_sums(TensorView sums, TensorView logits, TensorView labels, TensorView maxima,
                   const VocabularyPart& part, bool gradient, Stream& stream) {
  constexpr const char* kOp = "split_ce_sums";
  check_rows(kOp, logits);
  require_operand(kOp, "sums", sums, {logits.dim(0), 2}, DType::kFloat64, logits.device);
  check_column(kOp, "labels", labels, logits, DType::kInt32);
  check_column(kOp, "maxima", maxima, logits, logits.dtype);
  check_part(kOp, logits, part);
  if (only_counted(kOp, {logits}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::split_ce_sums(sums, logits, labels, maxima, part, gradient, stream),
                 cuda::split_ce_sums(sums, logits, labels, maxima, part, gradient, stream));
}

double split_ce_loss(TensorView logits, TensorView labels, TensorView sums,
                     const VocabularyPart& part, double gradient_scale, bool gradient,
                     Stream& stream) {
  check_split_ce(logits, labels, sums, part, gradient_scale);
  HALO_ON_DEVICE(stream, static_cast<void>(0), cuda::check_labels(labels, part.size, stream));
  return device_sum(stream, [&](const TensorView& sum) {
    add_split_ce_loss(sum, logits, labels, sums, part, gradient_scale, gradient, stream);
  });
}

void add_split_ce_loss(TensorView sum, TensorView logits, TensorView labels, TensorView sums,
                       const VocabularyPart& part, double gradient_scale, bool gradient,
                       Stream& stream) {
  constexpr const char* kOp = "split_ce_loss";
  check_split_ce(logits, labels, sums, part, gradient_scale);
  require_operand(kOp, "sum", sum, {1}, DType::kFloat64, logits.device);
  if (only_counted(kOp, {logits, logits}, stream)) return;
  HALO_ON_DEVICE(
      stream,
      add_to(sum, cpu::split_ce_loss(logits, labels, sums, part, gradient_scale, gradient, stream)),
      cuda::add_split_ce_loss(sum, logits, labels, sums, part, gradient_scale, gradient, stream));
}

}  // namespace halo::kernels
