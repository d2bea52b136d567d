#include "core/model/mlp.h"

#include "kernels/gates.h"
#include "kernels/matmul.h"

namespace halo::model {

Mlp::Mlp(const ParameterLookup& parameters, const std::string& prefix, const ModelAxes& axes)
    : axes_(&axes),
      gate_(&parameters(prefix + "gate_proj.weight")),
      up_(&parameters(prefix + "up_proj.weight")),
      down_(&parameters(prefix + "down_proj.weight")) {}

void Mlp::forward(TensorView y, TensorView addend, TensorView x, Saved& saved,
                  Stream& stream) const {
  const parallel::Gathered all = axes_->tensor.gather(x, stream);
  const Shape hidden{all.view().dim(0), gate_->weight.dim(0)};
  saved.gate = Tensor(stream, hidden, x.dtype);
  saved.up = Tensor(stream, hidden, x.dtype);
  kernels::linear(saved.gate, all, gate_->weight, stream);
  kernels::linear(saved.up, all, up_->weight, stream);
  Tensor activated(stream, hidden, x.dtype);
  kernels::swiglu(activated, saved.gate, saved.up, stream);
  axes_->tensor.add_reduce_scatter(
      y, addend,
      [&](const TensorView& out, const TensorView& added) {
        kernels::linear(out, activated, down_->weight, stream, added);
      },
      stream);
}

void Mlp::backward(TensorView dx, TensorView dy, TensorView x, Saved& saved, Stream& stream) const {
  const parallel::Gathered dy_all = axes_->tensor.gather(dy, stream);
  Tensor d(stream, saved.gate.view().shape, x.dtype);
  kernels::linear_backward_input(d, dy_all, down_->weight, /*accumulate=*/false, stream);
  const bool trains_down = !down_->grad.empty();
  kernels::swiglu_backward(saved.gate, saved.up, trains_down ? d.view() : TensorView{}, d,
                           saved.gate, saved.up, stream);  // now dgate, dup and what down_ read
  add_matrix_gradient(*down_, dy_all, d, stream);
  d.reset();
  const parallel::Gathered all = axes_->tensor.gather(x, stream);
  add_matrix_gradient(*gate_, saved.gate, all, stream);
  add_matrix_gradient(*up_, saved.up, all, stream);
  axes_->tensor.reduce_scatter(
      dx,
      [&](const TensorView& out) {
        kernels::linear_backward_input(out, saved.gate, gate_->weight, /*accumulate=*/false,
                                       stream);
        kernels::linear_backward_input(out, saved.up, up_->weight, /*accumulate=*/true, stream);
      },
      stream);
  saved = Saved();
}

}  // namespace halo::model
