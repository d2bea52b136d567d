#pragma once
#include <vector>

#include "core/model/model_axes.h"
#include "core/model/output_gate.h"
#include "core/model/parameters.h"
#include "core/model/sequence.h"
#include "kernels/norm_rope.h"
#include "parallel/context_lightning.h"

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

/// Which of a rank's key heads each of its query heads reads. Where neighbours share key heads the runs are uneven, and
/// kernels, which want them even, are given a key head for each query head.
class KeyHeads {
 public:
  /// Of `queries` query heads over `keys` key heads, on a rank of the tensor axis.
  KeyHeads(std::int64_t queries, std::int64_t keys, int rank, int ranks);

  [[nodiscard]] bool even() const { return even_; }
  /// (T, B, G, K) -> (T, B, H, K); x itself when the runs are even.
  [[nodiscard]] parallel::Gathered spread(const TensorView& x, Stream& stream) const;
  /// The gradient: dx (T, B, G, K) = sums of d (T, B, H, K) over the query heads of each key head.
  void collect(const TensorView& dx, const TensorView& d, Stream& stream) const;

 private:
  std::vector<std::int64_t> read_;  // by query head
  bool even_ = true;
};

class Mixer {
 public:
  /// Looks its weights up under `prefix` ("model.layers.3.self_attn."). The parameters must outlive the mixer.
  Mixer(MixerOptions options, const ParameterLookup& parameters, const std::string& prefix,
        const ModelAxes& axes);

  /// What the backward pass needs, named: of all rows of the tensor axis, this rank's heads.
  struct Saved {
    Tensor q_projected, k_projected;  // before the norm of each head; empty without it
    Tensor q_inv_rms, k_inv_rms;
    Tensor q, k, v;  // as mixed
    Tensor o, lse;   // mixed; lse of softmax attention
    Tensor
        states;  // lightning attention: before each fragment of this rank, when the context axis has several
    Tensor z;  // gate before its sigmoid; empty without a gate
    OutputGate::Saved output;
    /// Keeps products and attention alone: what passes over memory make of them (q, k) is made again.
    bool products_alone = false;
  };

  /// y (N, D) = addend + mixer(x (N, D)), this rank's rows of T * B; the addend may be y, or empty. With a cache, which
  /// only a rank alone has, the tokens follow those in it and join it.
  /// Source: oracle `attn_mixer`, `lightning_mixer`.
  void forward(TensorView y, TensorView addend, TensorView x, const Sequence& sequence,
               Saved& saved, MixerCache* cache, Stream& stream) const;

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
  /// q and k as mixed, from what was projected: norm, rotation and scaling of each head.
  void turn_heads(const Sequence& sequence, Saved& saved, Stream& stream) const;
  void mix(const Sequence& sequence, Saved& saved, MixerCache* cache, Stream& stream) const;
  void mix_cached(const Sequence& sequence, Saved& saved, MixerCache& cache, Stream& stream) const;
  [[nodiscard]] parallel::ContextAttentionCall attention_call(const Sequence& sequence) const;
  [[nodiscard]] parallel::ContextLightningCall lightning_call(const Sequence& sequence) const;
  void backward_mix(TensorView dq, TensorView dk, TensorView dv, TensorView d_o,
                    const Sequence& sequence, const Saved& saved, Stream& stream) const;
  /// Undoes rotation and norm in place: d (T, B, heads, K) becomes the gradient of the projection's output.
  void backward_heads(TensorView d, const Parameter* norm, const Tensor& projected,
                      const Tensor& inv_rms, const Sequence& sequence, Stream& stream) const;
  [[nodiscard]] kernels::HeadRotation rotation(const Sequence& sequence) const;

  const ModelAxes* axes_;
  MixerOptions options_;  // H, G and slopes are this rank's
  KeyHeads key_heads_;
  const Parameter *q_proj_, *k_proj_, *v_proj_, *o_proj_;
  const Parameter *q_norm_ = nullptr, *k_norm_ = nullptr, *gate_ = nullptr;
  OutputGate output_;
};

}  // namespace halo::model
