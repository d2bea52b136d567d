#include "kernels/rms_norm.h"

#include "kernels/checks.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

void check_split(std::string_view op, const SplitRows& split, const TensorView& x) {
  if (split.sums.empty()) return;
  require_operand(op, "sums", split.sums, {x.dim(0)}, wide_dtype(x.dtype), x.device);
  HALO_REQUIRE(split.channels >= x.dim(1), str(op, ": rows of ", split.channels,
                                               " channels in all, ", x.dim(1), " of them here"));
}

}  // namespace

void row_squares(TensorView sums, TensorView x, Stream& stream) {
  constexpr const char* kOp = "row_squares";
  HALO_REQUIRE(x.rank() == 2, str(kOp, ": x is ", to_string(x.shape), ", not (N, D)"));
  require_operand(kOp, "x", x, x.shape, x.dtype, x.device);
  require_operand(kOp, "sums", sums, {x.dim(0)}, wide_dtype(x.dtype), x.device);
  if (only_counted(kOp, {x, sums}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::row_squares(sums, x, stream), cuda::row_squares(sums, x, stream));
}

void row_dots(TensorView sums, TensorView dy, TensorView x, TensorView weight, Stream& stream) {
  constexpr const char* kOp = "row_dots";
  HALO_REQUIRE(x.rank() == 2, str(kOp, ": x is ", to_string(x.shape), ", not (N, D)"));
  require_operand(kOp, "x", x, x.shape, x.dtype, x.device);
  require_operand(kOp, "dy", dy, x.shape, x.dtype, x.device);
  require_operand(kOp, "weight", weight, {x.dim(1)}, x.dtype, x.device);
  require_operand(kOp, "sums", sums, {x.dim(0)}, wide_dtype(x.dtype), x.device);
  if (only_counted(kOp, {x, dy, sums}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::row_dots(sums, dy, x, weight, stream),
                 cuda::row_dots(sums, dy, x, weight, stream));
}

void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream, const SplitRows& split) {
  constexpr const char* kOp = "rms_norm";
  HALO_REQUIRE(x.rank() == 2, str(kOp, ": x is ", to_string(x.shape), ", not (N, D)"));
  require_operand(kOp, "x", x, x.shape, x.dtype, x.device);
  require_operand(kOp, "y", y, x.shape, x.dtype, x.device);
  require_operand(kOp, "inv_rms", inv_rms, {x.dim(0)}, wide_dtype(x.dtype), x.device);
  require_operand(kOp, "weight", weight, {x.dim(1)}, x.dtype, x.device);
  require_same_or_disjoint(kOp, "y", y, "x", x);
  require_disjoint(kOp, "y", y, "weight", weight);
  require_disjoint(kOp, "y", y, "inv_rms", inv_rms);
  require_disjoint(kOp, "inv_rms", inv_rms, "x", x);
  require_disjoint(kOp, "inv_rms", inv_rms, "weight", weight);
  check_split(kOp, split, x);
  HALO_REQUIRE(eps > 0, str(kOp, ": eps is ", eps, ", must be positive"));
  if (only_counted(kOp, {y, x}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::rms_norm(y, inv_rms, x, weight, eps, stream, split),
                 cuda::rms_norm(y, inv_rms, x, weight, eps, stream, split));
}

void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream,
                       const SplitRows& split) {
  constexpr const char* kOp = "rms_norm_backward";
  HALO_REQUIRE(x.rank() == 2, str(kOp, ": x is ", to_string(x.shape), ", not (N, D)"));
  require_operand(kOp, "x", x, x.shape, x.dtype, x.device);
  require_operand(kOp, "dy", dy, x.shape, x.dtype, x.device);
  require_operand(kOp, "dx", dx, x.shape, x.dtype, x.device);
  require_operand(kOp, "weight", weight, {x.dim(1)}, x.dtype, x.device);
  require_operand(kOp, "inv_rms", inv_rms, {x.dim(0)}, wide_dtype(x.dtype), x.device);
  require_same_or_disjoint(kOp, "dx", dx, "dy", dy);
  require_disjoint(kOp, "dx", dx, "x", x);
  require_disjoint(kOp, "dx", dx, "weight", weight);
  require_disjoint(kOp, "dx", dx, "inv_rms", inv_rms);
  if (!dweight.empty()) {
    require_operand(kOp, "dweight", dweight, {x.dim(1)}, wide_dtype(x.dtype), x.device);
    require_disjoint(kOp, "dweight", dweight, "dx", dx);
    require_disjoint(kOp, "dweight", dweight, "dy", dy);
    require_disjoint(kOp, "dweight", dweight, "x", x);
    require_disjoint(kOp, "dweight", dweight, "weight", weight);
  }
  check_split(kOp, split, x);
  if (only_counted(kOp, {dx, dy, x}, stream)) return;
  HALO_ON_DEVICE(
      stream,
      cpu::rms_norm_backward(dx, dweight, dy, x, weight, inv_rms, accumulate, stream, split),
      cuda::rms_norm_backward(dx, dweight, dy, x, weight, inv_rms, accumulate, stream, split));
}

}  // namespace halo::kernels
