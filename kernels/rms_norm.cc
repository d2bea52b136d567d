#include "kernels/rms_norm.h"

#include "kernels/checks.h"

namespace halo::kernels {

void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream) {
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
  HALO_REQUIRE(eps > 0, str(kOp, ": eps is ", eps, ", must be positive"));
  require_device(kOp, x.device);
  cpu::rms_norm(y, inv_rms, x, weight, eps, stream);
}

void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream) {
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
  require_device(kOp, x.device);
  cpu::rms_norm_backward(dx, dweight, dy, x, weight, inv_rms, accumulate, stream);
}

}  // namespace halo::kernels
