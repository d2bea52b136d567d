#pragma once
#include "core/model/parameters.h"

namespace halo::model {

/// SwiGLU: down(silu(gate(x)) * up(x)). Source: oracle `mlp`.
class Mlp {
 public:
  /// Looks its weights up under `prefix` ("model.layers.3.mlp."). The parameters must outlive it.
  Mlp(const ParameterLookup& parameters, const std::string& prefix);

  struct Saved {
    Tensor gate, up;  // (N, I) before the activation
  };
  /// y (N, D) = mlp(x (N, D)).
  void forward(TensorView y, TensorView x, Saved& saved, Stream& stream) const;
  /// Adds the weights' gradients and writes dx (N, D). `saved` is used up.
  void backward(TensorView dx, TensorView dy, TensorView x, Saved& saved, Stream& stream) const;

 private:
  const Parameter *gate_, *up_, *down_;
};

}  // namespace halo::model
