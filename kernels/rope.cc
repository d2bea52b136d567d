#include "kernels/rope.h"

#include "kernels/checks.h"
#include "kernels/on_device.h"

namespace halo::kernels {

void rope_tables(TensorView cos, TensorView sin, std::int64_t first_position, double theta,
                 Stream& stream) {
  constexpr const char* kOp = "rope_tables";
  HALO_REQUIRE(cos.rank() == 2, str(kOp, ": cos is ", to_string(cos.shape), ", not (T, K/2)"));
  require_operand(kOp, "cos", cos, cos.shape, cos.dtype, cos.device);
  require_operand(kOp, "sin", sin, cos.shape, cos.dtype, cos.device);
  require_disjoint(kOp, "cos", cos, "sin", sin);
  HALO_REQUIRE(first_position >= 0, str(kOp, ": first_position is ", first_position));
  HALO_REQUIRE(theta > 0, str(kOp, ": theta is ", theta, ", must be positive"));
  if (only_counted(kOp, {cos, sin}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::rope_tables(cos, sin, first_position, theta, stream),
                 cuda::rope_tables(cos, sin, first_position, theta, stream));
}

void apply_rope(TensorView x, TensorView cos, TensorView sin, bool inverse, Stream& stream) {
  constexpr const char* kOp = "apply_rope";
  HALO_REQUIRE(x.rank() == 4 && x.dim(3) % 2 == 0,
               str(kOp, ": x is ", to_string(x.shape), ", not (T, B, H, K) with an even K"));
  require_operand(kOp, "x", x, x.shape, x.dtype, x.device);
  require_operand(kOp, "cos", cos, {x.dim(0), x.dim(3) / 2}, x.dtype, x.device);
  require_operand(kOp, "sin", sin, cos.shape, x.dtype, x.device);
  require_disjoint(kOp, "x", x, "cos", cos);
  require_disjoint(kOp, "x", x, "sin", sin);
  if (only_counted(kOp, {x, x}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::apply_rope(x, cos, sin, inverse, stream),
                 cuda::apply_rope(x, cos, sin, inverse, stream));
}

void scale_by_position(TensorView x, std::int64_t first_position, double base, Stream& stream) {
  constexpr const char* kOp = "scale_by_position";
  HALO_REQUIRE(x.rank() == 4, str(kOp, ": x is ", to_string(x.shape), ", not (T, B, H, K)"));
  require_operand(kOp, "x", x, x.shape, x.dtype, x.device);
  HALO_REQUIRE(first_position >= 0, str(kOp, ": first_position is ", first_position));
  HALO_REQUIRE(base > 1, str(kOp, ": base is ", base, ", must be above 1"));
  if (only_counted(kOp, {x, x}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::scale_by_position(x, first_position, base, stream),
                 cuda::scale_by_position(x, first_position, base, stream));
}

}  // namespace halo::kernels
