#include "kernels/optimizer.h"

#include "kernels/checks.h"
#include "kernels/device_sum.h"
#include "kernels/on_device.h"

namespace halo::kernels {

void adamw(TensorView weight, TensorView master, TensorView m, TensorView v, TensorView grad,
           const AdamWStep& step, Stream& stream) {
  constexpr const char* kOp = "adamw";
  HALO_REQUIRE(master.rank() == 1, str(kOp, ": master is ", to_string(master.shape), ", not (N)"));
  const DType wide = wide_dtype(master.dtype);
  require_operand(kOp, "master", master, master.shape, wide, master.device);
  require_operand(kOp, "m", m, master.shape, wide, master.device);
  require_operand(kOp, "v", v, master.shape, wide, master.device);
  require_operand(kOp, "grad", grad, master.shape, wide, master.device);
  require_disjoint(kOp, "master", master, "m", m);
  require_disjoint(kOp, "master", master, "v", v);
  require_disjoint(kOp, "master", master, "grad", grad);
  if (!weight.empty()) {
    require_operand(kOp, "weight", weight, master.shape, weight.dtype, master.device);
    for (const TensorView& state : {master, m, v, grad})
      require_disjoint(kOp, "weight", weight, "the masters, moments or gradients", state);
  }
  require_disjoint(kOp, "m", m, "v", v);
  require_disjoint(kOp, "m", m, "grad", grad);
  require_disjoint(kOp, "v", v, "grad", grad);
  HALO_REQUIRE(step.t >= 1, str(kOp, ": step t=", step.t, ", counted from 1"));
  HALO_REQUIRE(step.beta1 >= 0 && step.beta1 < 1 && step.beta2 >= 0 && step.beta2 < 1,
               str(kOp, ": betas ", step.beta1, " and ", step.beta2, " must lie in [0, 1)"));
  HALO_REQUIRE(step.eps >= 0, str(kOp, ": eps is ", step.eps));
  if (only_counted(kOp, {master, master, m, m, v, v, grad, weight}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::adamw(master, m, v, grad, step, stream),
                 cuda::adamw(weight, master, m, v, grad, step, stream));
  if (!weight.empty() && stream.device() == Device::kCpu) cpu::cast(weight, master, stream);
}

double sum_of_squares(TensorView x, Stream& stream) {
  return device_sum(stream, [&](const TensorView& sum) { add_sum_of_squares(sum, x, stream); });
}

void add_sum_of_squares(TensorView sum, TensorView x, Stream& stream) {
  require_operand("sum_of_squares", "x", x, x.shape, x.dtype, x.device);
  require_operand("sum_of_squares", "sum", sum, {1}, DType::kFloat64, x.device);
  if (only_counted("sum_of_squares", {x}, stream)) return;
  HALO_ON_DEVICE(stream, add_to(sum, cpu::sum_of_squares(x, stream)),
                 cuda::add_sum_of_squares(sum, x, stream));
}

std::int64_t count_nonfinite(TensorView x, Stream& stream) {
  require_operand("count_nonfinite", "x", x, x.shape, x.dtype, x.device);
  if (only_counted("count_nonfinite", {x}, stream)) return 0;
  return HALO_ON_DEVICE(stream, cpu::count_nonfinite(x, stream), cuda::count_nonfinite(x, stream));
}

void cast(TensorView to, TensorView from, Stream& stream) {
  require_operand("cast", "from", from, from.shape, from.dtype, from.device);
  require_operand("cast", "to", to, from.shape, to.dtype, from.device);
  require_disjoint("cast", "to", to, "from", from);
  if (only_counted("cast", {to, from}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::cast(to, from, stream), cuda::cast(to, from, stream));
}

}  // namespace halo::kernels
