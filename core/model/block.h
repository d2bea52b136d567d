#pragma once
#include "core/model/mixer.h"
#include "core/model/mlp.h"

namespace halo::model {

/// One pre-norm layer: x += mixer(rms_norm(x)); x += mlp(rms_norm(x)). Views (N, D) hold this rank's rows. Source: oracle
/// `layer`.
class Block {
 public:
  Block(const ModelConfig& config, int layer, const ParameterLookup& parameters,
        const ModelAxes& axes);

  struct Saved {
    Tensor x, inv_rms, h;  // the layer's input, its norm's statistics, the mixer's input
    Mixer::Saved mixer;
    Tensor x_mid, inv_rms_mid, h_mid;  // likewise for the MLP
    Mlp::Saved mlp;
    bool recompute = false;       // only x is kept; backward runs the forward pass again
    bool products_alone = false;  // h and h_mid are made again, and what the mixer can
  };

  /// x (N, D) is replaced by the layer's output, in other memory.
  void forward(Tensor& x, const Sequence& sequence, Saved& saved, Stream& stream) const;
  /// The same for a pass that needs no gradients; the tokens join the cache if there is one.
  void infer(TensorView x, const Sequence& sequence, MixerCache* cache, Stream& stream) const;
  /// d (N, D), the gradient of the output, is replaced by that of the input; the weights' gradients are added. `saved`
  /// is used up.
  void backward(TensorView d, const Sequence& sequence, Saved& saved, Stream& stream) const;

  // The halves, for the align stage, which trains mixers on the teacher's stream.
  /// h (N, D) = the mixer's input.
  void normalise_input(TensorView h, TensorView inv_rms, TensorView x, Stream& stream) const;
  /// x += y, then x += mlp(rms_norm(x)). y is used up.
  void finish(TensorView x, TensorView y, Stream& stream) const;
  [[nodiscard]] const Mixer& mixer() const { return mixer_; }
  [[nodiscard]] const Parameter& input_norm() const { return *input_norm_; }

 private:
  /// x = the layer's output for saved.x.
  void run(TensorView x, const Sequence& sequence, Saved& saved, Stream& stream) const;
  /// x = x_mid + mlp(rms_norm(x_mid)).
  void infer_mlp(TensorView x, TensorView x_mid, Stream& stream) const;

  double eps_;
  const Parameter *input_norm_, *mid_norm_;
  Mixer mixer_;
  Mlp mlp_;
};

}  // namespace halo::model
