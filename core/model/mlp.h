#pragma once
#include "core/model/model_axes.h"
#include "core/model/parameters.h"

namespace halo::model {

/// SwiGLU: down(silu(gate(x)) * up(x)). Source: oracle `mlp`.
class Mlp {
 public:
  /// Looks its weights up under `prefix` ("model.layers.3.mlp."). The parameters must outlive it.
  Mlp(const ParameterLookup& parameters, const std::string& prefix, const ModelAxes& axes);

  struct Saved {
    Tensor gate, up;  // (all rows, this rank's channels) before the activation
  };
  /// y (N, D) = addend + mlp(x (N, D)), this rank's rows of all; the addend may be y, or empty.
  void forward(TensorView y, TensorView addend, TensorView x, Saved& saved, Stream& stream) const;
  /// Adds the weights' gradients and writes dx (N, D). `saved` is used up.
  void backward(TensorView dx, TensorView dy, TensorView x, Saved& saved, Stream& stream) const;

 private:
  const ModelAxes* axes_;
  const Parameter *gate_, *up_, *down_;
};

}  // namespace halo::model
