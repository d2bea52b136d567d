#include "kernels/norm_rope.h"

#include "kernels/checks.h"
#include "kernels/on_device.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

namespace halo::kernels {
namespace {

TensorView rows_of(const TensorView& x) { return x.reshape({x.size() / x.dim(3), x.dim(3)}); }

void check_heads(std::string_view op, const TensorView& x, const HeadRotation& rotation) {
  HALO_REQUIRE(x.rank() == 4 && x.dim(3) > 0,
               str(op, ": x is ", to_string(x.shape), ", not (T, B, H, K)"));
  require_operand(op, "x", x, x.shape, x.dtype, x.device);
  if (rotation.cos.empty()) return;
  require_operand(op, "cos", rotation.cos, {x.dim(0), x.dim(3) / 2}, x.dtype, x.device);
  require_operand(op, "sin", rotation.sin, rotation.cos.shape, x.dtype, x.device);
}

/// Whether both are wanted, and the GPU does them at once.
bool at_once(const TensorView& x, const TensorView& y, const TensorView& weight,
             const HeadRotation& rotation, const Stream& stream) {
  return stream.device() == Device::kCuda && !rotation.cos.empty() && x.size() > 0 &&
         begin_at_packs({x, y, weight, rotation.cos, rotation.sin}) &&
         HALO_ON_DEVICE(stream, false, cuda::norm_rope_takes(x.dtype, x.dim(3)));
}

}  // namespace

void norm_rope(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
               const HeadRotation& rotation, Stream& stream) {
  constexpr const char* kOp = "norm_rope";
  check_heads(kOp, x, rotation);
  require_operand(kOp, "y", y, x.shape, x.dtype, x.device);
  require_disjoint(kOp, "y", y, "x", x);
  if (!at_once(x, y, weight, rotation, stream)) {
    rms_norm(rows_of(y), inv_rms, rows_of(x), weight, eps, stream);
    if (!rotation.cos.empty()) apply_rope(y, rotation.cos, rotation.sin, false, stream);
    return;
  }
  require_operand(kOp, "inv_rms", inv_rms, {x.size() / x.dim(3)}, DType::kFloat32, x.device);
  require_operand(kOp, "weight", weight, {x.dim(3)}, x.dtype, x.device);
  HALO_REQUIRE(eps > 0, str(kOp, ": eps is ", eps, ", must be positive"));
  HALO_ON_DEVICE(stream, static_cast<void>(0),
                 cuda::norm_rope(y, inv_rms, x, weight, eps, rotation, stream));
}

void norm_rope_backward(TensorView d, TensorView dweight, TensorView x, TensorView weight,
                        TensorView inv_rms, const HeadRotation& rotation, Stream& stream) {
  constexpr const char* kOp = "norm_rope_backward";
  check_heads(kOp, x, rotation);
  require_operand(kOp, "d", d, x.shape, x.dtype, x.device);
  require_disjoint(kOp, "d", d, "x", x);
  if (!at_once(x, d, weight, rotation, stream)) {
    if (!rotation.cos.empty()) apply_rope(d, rotation.cos, rotation.sin, true, stream);
    rms_norm_backward(rows_of(d), dweight, rows_of(d), rows_of(x), weight, inv_rms,
                      /*accumulate=*/false, stream);
    return;
  }
  require_operand(kOp, "inv_rms", inv_rms, {x.size() / x.dim(3)}, DType::kFloat32, x.device);
  require_operand(kOp, "weight", weight, {x.dim(3)}, x.dtype, x.device);
  if (!dweight.empty())
    require_operand(kOp, "dweight", dweight, {x.dim(3)}, DType::kFloat32, x.device);
  HALO_ON_DEVICE(stream, static_cast<void>(0),
                 cuda::norm_rope_backward(d, dweight, x, weight, inv_rms, rotation, stream));
}

}  // namespace halo::kernels
