#include "kernels/losses.h"

#include <cmath>

#include "kernels/checks.h"
#include "kernels/device_sum.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

void check_scale(std::string_view op, double gradient_scale) {
  HALO_REQUIRE(std::isfinite(gradient_scale), str(op, ": gradient_scale is ", gradient_scale));
}

/// (N, D) operands of one dtype, and `counted`.
void check_pair(std::string_view op, const TensorView& student, const TensorView& teacher,
                const TensorView& counted) {
  HALO_REQUIRE(student.rank() == 2,
               str(op, ": student is ", to_string(student.shape), ", not of rows"));
  require_operand(op, "student", student, student.shape, student.dtype, student.device);
  require_operand(op, "teacher", teacher, student.shape, student.dtype, student.device);
  if (counted.empty()) return;
  require_operand(op, "counted", counted, {student.dim(0)}, DType::kUint8, student.device);
}

void check_logits(std::string_view op, const TensorView& logits) {
  HALO_REQUIRE(logits.rank() == 2 && (logits.dim(1) > 0 || logits.dim(0) == 0),
               str(op, ": logits are ", to_string(logits.shape), ", not (N, V) with V >= 1"));
  require_operand(op, "logits", logits, logits.shape, logits.dtype, logits.device);
}

void check_ce(const TensorView& logits, const TensorView& labels, double gradient_scale) {
  constexpr const char* kOp = "ce_loss";
  check_logits(kOp, logits);
  require_operand(kOp, "labels", labels, {logits.dim(0)}, DType::kInt32, logits.device);
  require_disjoint(kOp, "logits", logits, "labels", labels);
  check_scale(kOp, gradient_scale);
}

}  // namespace

double mse_loss(TensorView dstudent, TensorView student, TensorView teacher, TensorView counted,
                double gradient_scale, Stream& stream) {
  return device_sum(stream, [&](const TensorView& sum) {
    add_mse_loss(sum, dstudent, student, teacher, counted, gradient_scale, stream);
  });
}

double kl_loss(TensorView student, TensorView teacher, TensorView counted, double gradient_scale,
               Stream& stream) {
  return device_sum(stream, [&](const TensorView& sum) {
    add_kl_loss(sum, student, teacher, counted, gradient_scale, stream);
  });
}

double ce_loss(TensorView logits, TensorView labels, double gradient_scale, bool gradient,
               Stream& stream) {
  check_ce(logits, labels, gradient_scale);
  HALO_ON_DEVICE(stream, static_cast<void>(0), cuda::check_labels(labels, logits.dim(1), stream));
  return device_sum(stream, [&](const TensorView& sum) {
    add_ce_loss(sum, logits, labels, gradient_scale, gradient, stream);
  });
}

void add_mse_loss(TensorView sum, TensorView dstudent, TensorView student, TensorView teacher,
                  TensorView counted, double gradient_scale, Stream& stream) {
  constexpr const char* kOp = "mse_loss";
  check_pair(kOp, student, teacher, counted);
  require_operand(kOp, "dstudent", dstudent, student.shape, student.dtype, student.device);
  require_same_or_disjoint(kOp, "dstudent", dstudent, "student", student);
  require_disjoint(kOp, "dstudent", dstudent, "teacher", teacher);
  check_scale(kOp, gradient_scale);
  require_operand(kOp, "sum", sum, {1}, DType::kFloat64, student.device);
  if (only_counted(kOp, {dstudent, student, teacher}, stream)) return;
  HALO_ON_DEVICE(
      stream,
      add_to(sum, cpu::mse_loss(dstudent, student, teacher, counted, gradient_scale, stream)),
      cuda::add_mse_loss(sum, dstudent, student, teacher, counted, gradient_scale, stream));
}

void add_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView counted,
                 double gradient_scale, Stream& stream) {
  constexpr const char* kOp = "kl_loss";
  check_pair(kOp, student, teacher, counted);
  check_logits(kOp, student);
  require_disjoint(kOp, "student", student, "teacher", teacher);
  check_scale(kOp, gradient_scale);
  require_operand(kOp, "sum", sum, {1}, DType::kFloat64, student.device);
  if (only_counted(kOp, {student, student, teacher, teacher}, stream)) return;
  HALO_ON_DEVICE(stream,
                 add_to(sum, cpu::kl_loss(student, teacher, counted, gradient_scale, stream)),
                 cuda::add_kl_loss(sum, student, teacher, counted, gradient_scale, stream));
}

void add_ce_loss(TensorView sum, TensorView logits, TensorView labels, double gradient_scale,
                 bool gradient, Stream& stream) {
  check_ce(logits, labels, gradient_scale);
  require_operand("ce_loss", "sum", sum, {1}, DType::kFloat64, logits.device);
  if (only_counted("ce_loss", {logits, logits}, stream)) return;
  HALO_ON_DEVICE(stream,
                 add_to(sum, cpu::ce_loss(logits, labels, gradient_scale, gradient, stream)),
                 cuda::add_ce_loss(sum, logits, labels, gradient_scale, gradient, stream));
}

void token_log_likelihood(TensorView row_loss, TensorView greedy, TensorView logits,
                          TensorView labels, Stream& stream) {
  constexpr const char* kOp = "token_log_likelihood";
  check_logits(kOp, logits);
  const Shape rows{logits.dim(0)};
  if (!row_loss.empty()) {
    require_operand(kOp, "row_loss", row_loss, rows, DType::kFloat64, logits.device);
    require_operand(kOp, "labels", labels, rows, DType::kInt32, logits.device);
    require_disjoint(kOp, "row_loss", row_loss, "logits", logits);
    require_disjoint(kOp, "row_loss", row_loss, "labels", labels);
  }
  if (!greedy.empty()) {
    require_operand(kOp, "greedy", greedy, rows, DType::kInt32, logits.device);
    require_disjoint(kOp, "greedy", greedy, "logits", logits);
    require_disjoint(kOp, "greedy", greedy, "labels", labels);
    require_disjoint(kOp, "greedy", greedy, "row_loss", row_loss);
  }
  if (only_counted(kOp, {logits}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::token_log_likelihood(row_loss, greedy, logits, labels, stream),
                 cuda::token_log_likelihood(row_loss, greedy, logits, labels, stream));
}

}  // namespace halo::kernels
