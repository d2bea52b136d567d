#pragma once
#include "core/model/parameters.h"
#include "parallel/tensor_axis.h"

namespace halo::model {

/// What a mixer does before its last projection: y = rms_norm(o) * sigmoid(z), norm and gate each optional. o, z and y
/// (N, channels of this rank); the norm is over the channels of all ranks of the tensor axis.
/// Source: oracle `attn_mixer`, `lightning_mixer`.
class OutputGate {
 public:
  OutputGate() = default;
  /// `norm` is its weight, or null. All must outlive it.
  OutputGate(const Parameter* norm, bool gates, double eps, std::int64_t channels,
             const parallel::TensorAxis& axis)
      : norm_(norm), gates_(gates), eps_(eps), channels_(channels), axis_(&axis) {}

  /// What the backward pass needs beside o and z.
  struct Saved {
    Tensor inv_rms, squares;  // squares: sums over a row of all ranks, when there are several
  };
  /// y, which is o itself without norm and gate. z is read with a gate alone.
  [[nodiscard]] parallel::Gathered forward(Saved& saved, const TensorView& o, const TensorView& z,
                                           Stream& stream) const;
  /// d, the gradient of y, becomes that of o, and z its own; the norm's is added. Returns y once more, which costs less
  /// than keeping it.
  [[nodiscard]] parallel::Gathered backward(const TensorView& d, const TensorView& z,
                                            const Saved& saved, const TensorView& o,
                                            Stream& stream) const;

 private:
  [[nodiscard]] bool is_split() const { return axis_->size() > 1; }
  void normalise(const TensorView& y, const TensorView& inv_rms, const Saved& saved,
                 const TensorView& o, Stream& stream) const;
  void backward_norm(const TensorView& d, const Saved& saved, const TensorView& o,
                     Stream& stream) const;

  const Parameter* norm_ = nullptr;
  bool gates_ = false;
  double eps_ = 0;
  std::int64_t channels_ = 0;  // of all ranks
  const parallel::TensorAxis* axis_ = nullptr;
};

}  // namespace halo::model
