#include "kernels/norm_gate.h"

#include "core/base/tensor.h"
#include "kernels/checks.h"
#include "kernels/gates.h"
#include "kernels/on_device.h"
#include "kernels/rms_norm.h"

namespace halo::kernels {
namespace {

void check_rows(std::string_view op, const TensorView& x, const TensorView& y, const TensorView& z,
                const TensorView& weight, const TensorView& inv_rms, double eps) {
  HALO_REQUIRE(x.rank() == 2, str(op, ": x is ", to_string(x.shape), ", not (N, D)"));
  require_operand(op, "x", x, x.shape, x.dtype, x.device);
  require_operand(op, "y", y, x.shape, x.dtype, x.device);
  require_operand(op, "z", z, x.shape, x.dtype, x.device);
  require_operand(op, "weight", weight, {x.dim(1)}, x.dtype, x.device);
  require_operand(op, "inv_rms", inv_rms, {x.dim(0)}, wide_dtype(x.dtype), x.device);
  HALO_REQUIRE(eps > 0, str(op, ": eps is ", eps, ", must be positive"));
  require_disjoint(op, "y", y, "x", x);
  require_disjoint(op, "y", y, "z", z);
  require_disjoint(op, "z", z, "x", x);
}

/// Whether the GPU does both at once.
bool at_once(std::initializer_list<TensorView> operands, const Stream& stream) {
  const TensorView& x = *operands.begin();
  return stream.device() == Device::kCuda && begin_at_packs(operands) &&
         HALO_ON_DEVICE(stream, false, cuda::norm_gate_takes(x.dtype, x.dim(1)));
}

}  // namespace

void norm_gate(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, TensorView z,
               double eps, Stream& stream) {
  check_rows("norm_gate", x, y, z, weight, inv_rms, eps);
  if (!at_once({x, y, z, weight}, stream)) {
    rms_norm(y, inv_rms, x, weight, eps, stream);
    sigmoid_gate(y, y, z, stream);
    return;
  }
  HALO_ON_DEVICE(stream, static_cast<void>(0),
                 cuda::norm_gate(y, inv_rms, x, weight, z, eps, stream));
}

void norm_gate_backward(TensorView d, TensorView dweight, TensorView y, TensorView z, TensorView x,
                        TensorView weight, TensorView inv_rms, double eps, Stream& stream) {
  constexpr const char* kOp = "norm_gate_backward";
  check_rows(kOp, x, d, z, weight, inv_rms, eps);
  if (!y.empty()) {
    require_operand(kOp, "y", y, x.shape, x.dtype, x.device);
    for (const TensorView& other : {d, z, x}) require_disjoint(kOp, "y", y, "an operand", other);
  }
  if (!at_once({x, d, y, z, weight}, stream)) {
    Tensor memory;
    if (y.empty()) memory = Tensor(stream, x.shape, x.dtype);
    const TensorView n = y.empty() ? memory.view() : y;
    const Tensor inv_rms_again(stream, inv_rms.shape, inv_rms.dtype);
    rms_norm(n, inv_rms_again, x, weight, eps, stream);
    sigmoid_gate_backward(d, z, y, d, n, z, stream);
    rms_norm_backward(d, dweight, d, x, weight, inv_rms, /*accumulate=*/false, stream);
    return;
  }
  if (!dweight.empty())
    require_operand(kOp, "dweight", dweight, {x.dim(1)}, DType::kFloat32, x.device);
  HALO_ON_DEVICE(stream, static_cast<void>(0),
                 cuda::norm_gate_backward(d, dweight, y, z, x, weight, inv_rms, stream));
}

}  // namespace halo::kernels
