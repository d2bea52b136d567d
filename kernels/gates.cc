#include "kernels/gates.h"

#include "kernels/checks.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

/// Every operand is dense and like the first; outputs are inputs themselves or apart from them and each other.
void check_elementwise(std::string_view op, std::initializer_list<TensorView> outputs,
                       std::initializer_list<TensorView> inputs) {
  const TensorView& first = *inputs.begin();
  for (const TensorView& input : inputs) {
    require_operand(op, "an input", input, first.shape, first.dtype, first.device);
  }
  for (const TensorView& output : outputs) {
    require_operand(op, "an output", output, first.shape, first.dtype, first.device);
    for (const TensorView& input : inputs) {
      require_same_or_disjoint(op, "an output", output, "an input", input);
    }
  }
  if (outputs.size() == 2) {
    require_disjoint(op, "one output", outputs.begin()[0], "the other", outputs.begin()[1]);
  }
}

/// y, unless it is empty: like the inputs, and apart from the gradients.
void require_output_again(std::string_view op, const TensorView& y,
                          std::initializer_list<TensorView> inputs,
                          std::initializer_list<TensorView> gradients) {
  if (y.empty()) return;
  check_elementwise(op, {y}, inputs);
  for (const TensorView& gradient : gradients) require_disjoint(op, "y", y, "a gradient", gradient);
}

}  // namespace

void swiglu(TensorView y, TensorView gate, TensorView up, Stream& stream) {
  check_elementwise("swiglu", {y}, {gate, up});
  if (only_counted("swiglu", {y, gate, up}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::swiglu(y, gate, up, stream), cuda::swiglu(y, gate, up, stream));
}

void swiglu_backward(TensorView dgate, TensorView dup, TensorView y, TensorView dy, TensorView gate,
                     TensorView up, Stream& stream) {
  check_elementwise("swiglu_backward", {dgate, dup}, {dy, gate, up});
  require_output_again("swiglu_backward", y, {dy, gate, up}, {dgate, dup});
  if (only_counted("swiglu_backward", {dgate, dup, dy, gate, up}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::swiglu_backward(dgate, dup, y, dy, gate, up, stream),
                 cuda::swiglu_backward(dgate, dup, y, dy, gate, up, stream));
}

void sigmoid_gate(TensorView y, TensorView x, TensorView z, Stream& stream) {
  check_elementwise("sigmoid_gate", {y}, {x, z});
  if (only_counted("sigmoid_gate", {y, x, z}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::sigmoid_gate(y, x, z, stream), cuda::sigmoid_gate(y, x, z, stream));
}

void sigmoid_gate_backward(TensorView dx, TensorView dz, TensorView y, TensorView dy, TensorView x,
                           TensorView z, Stream& stream) {
  check_elementwise("sigmoid_gate_backward", {dx, dz}, {dy, x, z});
  require_output_again("sigmoid_gate_backward", y, {dy, x, z}, {dx, dz});
  if (only_counted("sigmoid_gate_backward", {dx, dz, dy, x, z}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::sigmoid_gate_backward(dx, dz, y, dy, x, z, stream),
                 cuda::sigmoid_gate_backward(dx, dz, y, dy, x, z, stream));
}

void add(TensorView y, TensorView a, TensorView b, Stream& stream) {
  if (b.dtype == a.dtype) {
    check_elementwise("add", {y}, {a, b});
  } else {
    check_elementwise("add", {y}, {a});
    require_operand("add", "b", b, a.shape, b.dtype, a.device);
    HALO_REQUIRE(wide_dtype(b.dtype) == a.dtype,
                 str("add: ", dtype_name(b.dtype), " to ", dtype_name(a.dtype)));
    require_disjoint("add", "y", y, "b", b);
  }
  if (only_counted("add", {y, a, b}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::add(y, a, b, stream), cuda::add(y, a, b, stream));
}

void multiply(TensorView y, TensorView a, TensorView b, Stream& stream) {
  check_elementwise("multiply", {y}, {a, b});
  if (only_counted("multiply", {y, a, b}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::multiply(y, a, b, stream), cuda::multiply(y, a, b, stream));
}

}  // namespace halo::kernels
