#pragma once
#include <vector>

#include "core/model/parameters.h"
#include "core/model/sequence.h"

namespace halo::model {

/// One layer's token mixer, softmax or lightning attention: project to q, k, v; normalise each head; rotate; mix along T;
/// normalise the output; gate it; project back. Every step in between is optional, so that one body computes Qwen3's
/// attention, HypeNet's two mixers and their ablations.
struct MixerOptions {
  MixerType type = MixerType::kAttention;
  std::int64_t H = 0, G = 0, K = 0;
  double eps = 1e-6;
  bool use_rope = true;
  bool use_qk_norm = true;
  bool use_output_norm = false;  // one rms_norm over all H * K channels
  bool use_output_gate = false;  // * sigmoid(gate(x))
  LogitsScaling scaling;         // softmax attention only, inference only
  std::vector<double> slopes;    // lightning attention only, one a head
};
[[nodiscard]] MixerOptions mixer_options(const ModelConfig& config, int layer);

/// What earlier tokens left behind, for generation: keys and values, or the lightning state.
struct MixerCache {
  Tensor k, v;   // (capacity, B, G, K), the first `length` rows filled
  Tensor state;  // (B, H, K, K) wide
  std::int64_t length = 0;
};

class Mixer {
 public:
  /// Looks its weights up under `prefix` ("model.layers.3.self_attn."). The parameters must outlive the mixer.
  Mixer(MixerOptions options, const ParameterLookup& parameters, const std::string& prefix);

  /// What the backward pass needs, named.
  struct Saved {
    Tensor q_projected, k_projected;  // before the norm of each head; empty without it
    Tensor q_inv_rms, k_inv_rms;
    Tensor q, k, v;       // as mixed
    Tensor o, lse;        // mixed; lse of softmax attention
    Tensor o_inv_rms, n;  // n: o after its norm; empty without it
    Tensor z, y;          // gate before its sigmoid, gated output; empty without a gate
  };

  /// y (N, D) = mixer(x (N, D)), N = T * B. With a cache, the tokens follow those in it and join it.
  /// Source: oracle `attn_mixer`, `lightning_mixer`.
  void forward(TensorView y, TensorView x, const Sequence& sequence, Saved& saved,
               MixerCache* cache, Stream& stream) const;

  /// Adds the weights' gradients to those that are trained and writes dx (N, D), or not when it is empty. `saved` is
  /// used up.
  void backward(TensorView dx, TensorView dy, TensorView x, const Sequence& sequence, Saved& saved,
                Stream& stream) const;

  [[nodiscard]] const MixerOptions& options() const { return options_; }
  /// An empty cache for up to `capacity` tokens of B sequences.
  [[nodiscard]] MixerCache make_cache(std::int64_t capacity, std::int64_t B, DType dtype,
                                      Stream& stream) const;

 private:
  void project(TensorView x, const Sequence& sequence, Saved& saved, Stream& stream) const;
  void mix(const Sequence& sequence, Saved& saved, MixerCache* cache, Stream& stream) const;
  void attend(const Sequence& sequence, Saved& saved, MixerCache* cache, Stream& stream) const;
  void scan(const Sequence& sequence, Saved& saved, MixerCache* cache, Stream& stream) const;
  void backward_mix(TensorView dq, TensorView dk, TensorView dv, TensorView d_o,
                    const Sequence& sequence, const Saved& saved, Stream& stream) const;
  /// Undoes rotation and norm in place: dq becomes the gradient of the projection's output.
  void backward_heads(TensorView dq, const Parameter* norm, const Tensor& projected,
                      const Tensor& inv_rms, const Sequence& sequence, Stream& stream) const;

  MixerOptions options_;
  const Parameter *q_proj_, *k_proj_, *v_proj_, *o_proj_;
  const Parameter *q_norm_ = nullptr, *k_norm_ = nullptr, *o_norm_ = nullptr, *gate_ = nullptr;
};

}  // namespace halo::model
