#include "kernels/checks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace halo::kernels {
namespace {

bool overlap(const TensorView& a, const TensorView& b) {
  if (a.size() == 0 || b.size() == 0) return false;
  const auto end = [](const TensorView& view) {  // of the last element, for any strides >= 0
    std::int64_t last = 0;
    for (int axis = 0; axis < view.rank(); ++axis) last += (view.dim(axis) - 1) * view.stride(axis);
    return static_cast<const std::byte*>(view.data) +
           static_cast<std::size_t>(last + 1) * dtype_size(view.dtype);
  };
  const std::less<const void*> before;
  return before(a.data, end(b)) && before(b.data, end(a));
}

std::string describe(const Shape& shape, DType dtype) {
  return str(to_string(shape), ' ', dtype_name(dtype));
}

}  // namespace

bool only_counted(std::string_view op, KernelWork::Kind kind, double flops,
                  std::initializer_list<TensorView> operands, Stream& stream) {
  const Device device = operands.begin()->device;
  HALO_REQUIRE(device == stream.device(),
               str(op, ": its tensors lie on another device than the stream's"));
  HALO_REQUIRE(device != Device::kCuda || HALO_CUDA_ENABLED,
               str(op, ": this build has no kernels for CUDA tensors"));
  if (device != Device::kMeta) return false;
  double bytes = 0;
  for (const TensorView& operand : operands) bytes += static_cast<double>(operand.bytes());
  stream.report({op, kind, flops, bytes});
  return true;
}

bool only_counted(std::string_view op, std::initializer_list<TensorView> operands, Stream& stream) {
  return only_counted(op, KernelWork::Kind::kElementwise, 0, operands, stream);
}

void require_strided_operand(std::string_view op, std::string_view name, const TensorView& view,
                             const Shape& shape, DType dtype, Device device) {
  HALO_REQUIRE(view.shape == shape && view.dtype == dtype,
               str(op, ": ", name, " is ", describe(view.shape, view.dtype), ", expected ",
                   describe(shape, dtype)));
  HALO_REQUIRE(view.device == device, str(op, ": ", name, " lies on another device"));
  HALO_REQUIRE(view.rank() == 0 || view.dim(-1) <= 1 || view.stride(-1) == 1,
               str(op, ": the last axis of ", name, " is not dense"));
  HALO_REQUIRE(view.data != nullptr || view.size() == 0, str(op, ": ", name, " has no memory"));
}

void require_operand(std::string_view op, std::string_view name, const TensorView& view,
                     const Shape& shape, DType dtype, Device device) {
  require_strided_operand(op, name, view, shape, dtype, device);
  HALO_REQUIRE(view.contiguous(), str(op, ": ", name, " is not dense"));
}

void require_disjoint(std::string_view op, std::string_view name, const TensorView& output,
                      std::string_view input_name, const TensorView& input) {
  HALO_REQUIRE(!overlap(output, input), str(op, ": ", name, " overlaps ", input_name));
}

void require_same_or_disjoint(std::string_view op, std::string_view name, const TensorView& output,
                              std::string_view input_name, const TensorView& input) {
  HALO_REQUIRE(output.data == input.data || !overlap(output, input),
               str(op, ": ", name, " overlaps a part of ", input_name));
}

bool begin_at_packs(std::initializer_list<TensorView> views) {
  return std::ranges::all_of(views, [](const TensorView& view) {
    return reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0;
  });
}

}  // namespace halo::kernels
