#include "core/model/mlp.h"

#include "kernels/gates.h"
#include "kernels/matmul.h"

namespace halo::model {

Mlp::Mlp(const ParameterLookup& parameters, const std::string& prefix)
    : gate_(&parameters(prefix + "gate_proj.weight")),
      up_(&parameters(prefix + "up_proj.weight")),
      down_(&parameters(prefix + "down_proj.weight")) {}

void Mlp::forward(TensorView y, TensorView x, Saved& saved, Stream& stream) const {
  const Shape hidden{x.dim(0), gate_->weight.dim(0)};
  saved.gate = Tensor(stream, hidden, x.dtype);
  saved.up = Tensor(stream, hidden, x.dtype);
  kernels::linear(saved.gate, x, gate_->weight, stream);
  kernels::linear(saved.up, x, up_->weight, stream);
  Tensor activated(stream, hidden, x.dtype);
  kernels::swiglu(activated, saved.gate, saved.up, stream);
  kernels::linear(y, activated, down_->weight, stream);
}

void Mlp::backward(TensorView dx, TensorView dy, TensorView x, Saved& saved, Stream& stream) const {
  Tensor d(stream, saved.gate.view().shape, x.dtype);
  kernels::linear_backward_input(d, dy, down_->weight, /*accumulate=*/false, stream);
  const bool trains_down = !down_->grad.empty();
  kernels::swiglu_backward(saved.gate, saved.up, trains_down ? d.view() : TensorView{}, d,
                           saved.gate, saved.up, stream);  // now dgate, dup and what down_ read
  add_matrix_gradient(*down_, dy, d, stream);
  for (const auto& [weight, dout] :
       {std::pair{gate_, saved.gate.view()}, std::pair{up_, saved.up.view()}}) {
    add_matrix_gradient(*weight, dout, x, stream);
    kernels::linear_backward_input(dx, dout, weight->weight, /*accumulate=*/weight == up_, stream);
  }
  saved = Saved();
}

}  // namespace halo::model
