#pragma once
#include <optional>
#include <vector>

#include "core/model/block.h"
#include "core/model/head.h"
#include "core/model/layer_hooks.h"

namespace halo::model {

/// A Qwen3 or HypeNet, or a run of its layers as a pipeline's stage holds it: embedding before the first layer, final norm
/// and head after the last. Holds no weights of its own. Activations (N, D) are this rank's rows of the tensor axis.
class Transformer {
 public:
  /// Looks up the parameters of parameter_specs(config, {layers}); they must outlive the model, as the axes.
  Transformer(ModelConfig config, LayerRange layers, const ParameterLookup& parameters,
              const ModelAxes& axes);
  /// The whole model on a rank that computes alone.
  Transformer(ModelConfig config, const ParameterLookup& parameters);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const ModelAxes& axes() const { return *axes_; }
  [[nodiscard]] int layers() const { return config_.num_hidden_layers; }  // of the whole model
  [[nodiscard]] LayerRange held() const { return held_; }
  [[nodiscard]] bool is_first() const { return held_.begin == 0; }
  [[nodiscard]] bool is_last() const { return held_.end == layers(); }
  /// A layer that is held, by its number in the model.
  [[nodiscard]] const Block& block(int layer) const {
    return blocks_[static_cast<std::size_t>(layer - held_.begin)];
  }
  /// Of the last layers.
  [[nodiscard]] const Head& head() const { return *head_; }

  /// (rows of this rank, D) for a sequence's activations, uninitialised.
  [[nodiscard]] Tensor activations(const Sequence& sequence, Stream& stream) const;
  /// x (N, D) = rows of the embedding; ids (all rows) int32. Throws Error for an id outside the vocabulary.
  void embed(TensorView x, TensorView ids, Stream& stream) const;
  /// h (N, D) = final norm of x; inv_rms (N).
  void final_norm(TensorView h, TensorView inv_rms, TensorView x, Stream& stream) const;

  /// The final hidden states (N, D), after the norm, of a pass without gradients, from layer `first` on: x (N, D) is that
  /// layer's input and is overwritten. For a whole model.
  [[nodiscard]] Tensor hidden_from(int first, TensorView x, const Sequence& sequence,
                                   Stream& stream, std::vector<MixerCache>* caches = nullptr) const;
  [[nodiscard]] Tensor hidden(TensorView ids, const Sequence& sequence, Stream& stream,
                              std::vector<MixerCache>* caches = nullptr) const;

  /// A pass without gradients over the layers held: from `ids` on the first layers, else from the activations `x`; to the
  /// final hidden states on the last layers, else to the next one's input.
  [[nodiscard]] Tensor infer(TensorView ids, Tensor x, const Sequence& sequence, Stream& stream,
                             const LayerHooks* hooks = nullptr) const;

  /// The same as a training pass. `recompute`: each layer keeps its input alone and runs again in the backward pass.
  struct Saved {
    Tensor ids;  // all rows
    std::vector<Block::Saved> blocks;
    Tensor x, inv_rms;  // the final norm's input and statistics
  };
  [[nodiscard]] Tensor forward(TensorView ids, Tensor x, const Sequence& sequence, bool recompute,
                               Saved& saved, Stream& stream,
                               const LayerHooks* hooks = nullptr) const;
  [[nodiscard]] Tensor forward(TensorView ids, const Sequence& sequence, bool recompute,
                               Saved& saved, Stream& stream) const {
    return forward(ids, {}, sequence, recompute, saved, stream);
  }
  /// d (N, D): the gradient of forward's result becomes that of its input. `saved` is used up.
  void backward(TensorView d, const Sequence& sequence, Saved& saved, Stream& stream,
                const LayerHooks* hooks = nullptr) const;

 private:
  [[nodiscard]] std::size_t layers_kept_whole(const Sequence& sequence, Stream& stream) const;
  void before_last(const LayerHooks* hooks) const;

  ModelConfig config_;
  LayerRange held_;
  const ModelAxes* axes_;
  const Parameter *embedding_ = nullptr, *final_norm_ = nullptr;
  std::vector<Block> blocks_;
  std::optional<Head> head_;
};

/// Cosines and sines for positions from 0 on, grown when a longer sequence comes.
class RopeTables {
 public:
  RopeTables(const ModelConfig& config, DType dtype)
      : K_(config.head_dim), theta_(config.rope_theta), dtype_(dtype) {}
  /// A sequence at positions first_position ... first_position + T - 1. Valid until the tables grow.
  [[nodiscard]] Sequence sequence(std::int64_t T, std::int64_t B, std::int64_t first_position,
                                  Stream& stream);
  /// A rank's part of a sequence that is cut along the context axis. Valid until another cut comes.
  [[nodiscard]] Sequence sequence(const std::shared_ptr<const parallel::SequenceCut>& cut,
                                  int context_rank, std::int64_t B, Stream& stream);

 private:
  void grow(std::int64_t positions, Stream& stream);

  std::int64_t K_;
  double theta_;
  DType dtype_;
  Tensor cos_, sin_;
  std::vector<std::pair<Tensor, Tensor>> outgrown_;
  std::shared_ptr<const parallel::SequenceCut> cut_;  // whose positions the next two hold
  Tensor cut_cos_, cut_sin_;
};

}  // namespace halo::model
