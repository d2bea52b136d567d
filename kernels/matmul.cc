#include "kernels/matmul.h"

#include "core/base/tensor.h"
#include "kernels/checks.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

struct Dims {
  std::int64_t rows, columns;
};
Dims op_dims(const TensorView& x, bool transpose) {
  return transpose ? Dims{x.dim(1), x.dim(0)} : Dims{x.dim(0), x.dim(1)};
}

void require_matrix(std::string_view name, const TensorView& x, DType dtype, Device device) {
  HALO_REQUIRE(x.rank() == 2, str("matmul: ", name, ' ', to_string(x.shape), " is no matrix"));
  require_strided_operand("matmul", name, x, x.shape, dtype, device);
  HALO_REQUIRE(x.dim(0) <= 1 || x.stride(0) >= x.dim(1),
               str("matmul: rows of ", name, ' ', to_string(x.shape), " overlap, ", x.stride(0),
                   " elements apart"));
}

}  // namespace

void matmul(TensorView c, TensorView a, TensorView b, const Matmul& options, Stream& stream,
            TensorView addend) {
  if (addend.empty()) addend = c;
  require_matrix("c", c, c.dtype == wide_dtype(a.dtype) ? c.dtype : a.dtype, a.device);
  require_matrix("a", a, a.dtype, a.device);
  require_matrix("b", b, a.dtype, a.device);
  const Dims left = op_dims(a, options.transpose_a);
  const Dims right = op_dims(b, options.transpose_b);
  HALO_REQUIRE(left.columns == right.rows && c.dim(0) == left.rows && c.dim(1) == right.columns,
               str("matmul: (", left.rows, ", ", left.columns, ") times (", right.rows, ", ",
                   right.columns, ") is no ", to_string(c.shape)));
  HALO_REQUIRE(addend.shape == c.shape && addend.dtype == c.dtype && addend.device == c.device &&
                   addend.strides == c.strides,
               str("matmul: the addend ", to_string(addend.shape), " is not laid out as c ",
                   to_string(c.shape)));
  require_same_or_disjoint("matmul", "c", c, "the addend", addend);
  const double flops = 2.0 * static_cast<double>(left.rows) * static_cast<double>(left.columns) *
                       static_cast<double>(right.columns);
  if (only_counted("matmul", KernelWork::Kind::kMatmul, flops, {c, a, b}, stream)) return;
  if (stream.device() == Device::kCpu && addend.data != c.data) copy(c, addend, stream);
  HALO_ON_DEVICE(stream, cpu::matmul(c, a, b, options, stream),
                 cuda::matmul(c, a, b, addend, options, stream));
}

void linear(TensorView y, TensorView x, TensorView weight, Stream& stream, TensorView addend) {
  const double beta = addend.empty() ? 0.0 : 1.0;
  const bool stored_transposed =
      weight.rank() == 2 && weight.stride(0) == 1 && weight.stride(1) > 1;
  if (stored_transposed)
    return matmul(y, x, weight.transposed(0, 1), {.beta = beta}, stream, addend);
  matmul(y, x, weight, {.transpose_b = true, .beta = beta}, stream, addend);
}

void linear_backward_input(TensorView dx, TensorView dy, TensorView weight, bool accumulate,
                           Stream& stream) {
  matmul(dx, dy, weight, {.beta = accumulate ? 1.0 : 0.0}, stream);
}

void linear_backward_weight(TensorView dweight, TensorView dy, TensorView x, bool accumulate,
                            Stream& stream) {
  matmul(dweight, dy, x, {.transpose_a = true, .beta = accumulate ? 1.0 : 0.0}, stream);
}

}  // namespace halo::kernels
