#pragma once
#include <vector>

#include "core/model/block.h"
#include "core/model/head.h"

namespace halo::model {

/// A whole Qwen3 or HypeNet: embedding, layers, final norm, head. Holds no weights of its own.
class Transformer {
 public:
  /// Looks up every parameter of parameter_specs(config); they must outlive the model.
  Transformer(ModelConfig config, const ParameterLookup& parameters);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] int layers() const { return static_cast<int>(blocks_.size()); }
  [[nodiscard]] const Block& block(int layer) const {
    return blocks_[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] const Head& head() const { return head_; }

  /// x (N, D) = rows of the embedding; ids (N) int32. Throws Error for an id outside the vocabulary.
  void embed(TensorView x, TensorView ids, Stream& stream) const;
  /// h (N, D) = final norm of x; inv_rms (N).
  void final_norm(TensorView h, TensorView inv_rms, TensorView x, Stream& stream) const;

  /// The final hidden states (N, D), after the norm, of a pass without gradients, from layer `first` on: x (N, D) is that
  /// layer's input and is overwritten.
  [[nodiscard]] Tensor hidden_from(int first, TensorView x, const Sequence& sequence,
                                   Stream& stream, std::vector<MixerCache>* caches = nullptr) const;
  [[nodiscard]] Tensor hidden(TensorView ids, const Sequence& sequence, Stream& stream,
                              std::vector<MixerCache>* caches = nullptr) const;

  /// A training pass. `recompute`: each layer keeps its input alone and runs again in the backward pass.
  struct Saved {
    Tensor ids;
    std::vector<Block::Saved> blocks;
    Tensor x, inv_rms;  // the final norm's input and statistics
  };
  [[nodiscard]] Tensor forward(TensorView ids, const Sequence& sequence, bool recompute,
                               Saved& saved, Stream& stream) const;
  /// d (N, D): the gradient of forward's result; overwritten. `saved` is used up.
  void backward(TensorView d, const Sequence& sequence, Saved& saved, Stream& stream) const;

 private:
  ModelConfig config_;
  const Parameter *embedding_, *final_norm_;
  std::vector<Block> blocks_;
  Head head_;
};

/// Cosines and sines for positions from 0 on, grown when a longer sequence comes.
class RopeTables {
 public:
  RopeTables(const ModelConfig& config, DType dtype)
      : K_(config.head_dim), theta_(config.rope_theta), dtype_(dtype) {}
  /// A sequence at positions first_position ... first_position + T - 1. Valid until the tables grow.
  [[nodiscard]] Sequence sequence(std::int64_t T, std::int64_t B, std::int64_t first_position,
                                  Stream& stream);

 private:
  std::int64_t K_;
  double theta_;
  DType dtype_;
  Tensor cos_, sin_;
};

}  // namespace halo::model
