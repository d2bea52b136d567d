#include "core/model/output_gate.h"

#include "kernels/gates.h"
#include "kernels/norm_gate.h"
#include "kernels/rms_norm.h"

namespace halo::model {

using parallel::Gathered;

Gathered OutputGate::forward(Saved& saved, const TensorView& o, const TensorView& z,
                             Stream& stream) const {
  if (norm_ == nullptr && !gates_) return Gathered(o);
  Tensor y(stream, o.shape, o.dtype);
  if (norm_ == nullptr) {
    kernels::sigmoid_gate(y, o, z, stream);
    return Gathered(std::move(y));
  }
  saved.inv_rms = Tensor(stream, {o.dim(0)}, wide_dtype(o.dtype));
  if (gates_ && !is_split()) {
    kernels::norm_gate(y, saved.inv_rms, o, norm_->weight, z, eps_, stream);
    return Gathered(std::move(y));
  }
  if (is_split()) {
    saved.squares = Tensor(stream, {o.dim(0)}, wide_dtype(o.dtype));
    kernels::row_squares(saved.squares, o, stream);
    axis_->all_reduce(saved.squares, comm::ReduceOp::kSum);
  }
  normalise(y, saved.inv_rms, saved, o, stream);
  if (gates_) kernels::sigmoid_gate(y, y, z, stream);
  return Gathered(std::move(y));
}

Gathered OutputGate::backward(const TensorView& d, const TensorView& z, const Saved& saved,
                              const TensorView& o, Stream& stream) const {
  if (norm_ == nullptr && !gates_) return Gathered(o);
  Tensor y(stream, o.shape, o.dtype);
  if (norm_ == nullptr) {
    kernels::sigmoid_gate_backward(d, z, y, d, o, z, stream);
    return Gathered(std::move(y));
  }
  if (gates_ && !is_split()) {
    kernels::norm_gate_backward(d, settled_gradient(*norm_, stream), y, z, o, norm_->weight,
                                saved.inv_rms, eps_, stream);
    return Gathered(std::move(y));
  }
  const Tensor inv_rms_again(stream, {o.dim(0)}, wide_dtype(o.dtype));
  normalise(y, inv_rms_again, saved, o, stream);
  if (gates_) kernels::sigmoid_gate_backward(d, z, y, d, y, z, stream);
  backward_norm(d, saved, o, stream);
  return Gathered(std::move(y));
}

void OutputGate::normalise(const TensorView& y, const TensorView& inv_rms, const Saved& saved,
                           const TensorView& o, Stream& stream) const {
  kernels::SplitRows split;
  if (is_split()) split = {saved.squares, channels_};
  kernels::rms_norm(y, inv_rms, o, norm_->weight, eps_, stream, split);
}

void OutputGate::backward_norm(const TensorView& d, const Saved& saved, const TensorView& o,
                               Stream& stream) const {
  Tensor dots;
  kernels::SplitRows split;
  if (is_split()) {
    dots = Tensor(stream, {d.dim(0)}, wide_dtype(d.dtype));
    kernels::row_dots(dots, d, o, norm_->weight, stream);
    axis_->all_reduce(dots, comm::ReduceOp::kSum);
    split = {dots, channels_};
  }
  kernels::rms_norm_backward(d, settled_gradient(*norm_, stream), d, o, norm_->weight,
                             saved.inv_rms, /*accumulate=*/false, stream, split);
}

}  // namespace halo::model
