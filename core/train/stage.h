#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "core/model/layer_hooks.h"
#include "core/model/parameters.h"
#include "core/train/schedule.h"
#include "data/batch_views.h"

namespace halo::train {

using data::MicroBatch;

/// A loss before its one division: the sum over counted tokens, and how many they are.
struct LossSum {
  double sum = 0.0;
  std::int64_t tokens = 0;
};

/// One stage of the method: which weights learn, and what they learn from. The Trainer knows no stage by name.
class Stage {
 public:
  virtual ~Stage() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;  // "align", ...
  [[nodiscard]] virtual const model::ModelConfig& student_config() const = 0;
  [[nodiscard]] virtual const model::ParameterSet& trained() const = 0;
  [[nodiscard]] virtual StageActions actions() const = 0;
  /// How many chunks of layers this rank holds.
  [[nodiscard]] virtual int chunks() const = 0;

  /// How many tokens of a micro-batch count in the loss, on all ranks but those of the data axis together.
  [[nodiscard]] virtual std::int64_t counted_tokens(const MicroBatch& batch) const = 0;
  /// What multiplies a token's loss beside one over the global token count (1 / (L * D) for align's mean).
  [[nodiscard]] virtual double token_scale() const { return 1.0; }

  /// To be called around the layers that are trained; null: nothing is. Must outlive the passes.
  virtual void set_hooks(const model::LayerHooks*) {}

  /// Brings the tokens of a step's micro-batches to the device at once, to where the last step's were if shapes are equal.
  /// Until let_go the passes take them from there.
  virtual void hold(std::span<const MicroBatch>) {}
  virtual void let_go() {}

  // Each works on one of this rank's chunks of layers for one micro-batch, which may be empty (B = 0) and is then skipped
  // by the caller. `x` are activations (activation_shape), or their gradient: what the chunk before, or after, has given
  // goes in, nothing at the model's ends, and what the next one is to be given comes out.

  virtual void teacher_forward(const MicroBatch&, int /*chunk*/, Tensor& /*x*/) {}
  /// Adds this rank's share of the plain sum of the loss over the micro-batch's counted tokens to `sum` (1) float64 on the
  /// device: over all ranks but those of the data axis they add up to it. Gradients are those of gradient_scale * sum: the
  /// one division of the method has been done by then.
  virtual void forward(const MicroBatch& batch, int chunk, Tensor& x, double gradient_scale,
                       TensorView sum) = 0;
  /// Adds to the gradients of trained().
  virtual void backward(const MicroBatch&, int /*chunk*/, Tensor& /*d*/) {}
  /// forward's loss without gradients.
  virtual void validation_forward(const MicroBatch& batch, int chunk, Tensor& x,
                                  TensorView sum) = 0;
  /// (rows of this rank, D) between layers.
  [[nodiscard]] virtual Shape activation_shape(const MicroBatch& batch) const = 0;
  /// Forward FLOPs and more that one token of a training step costs, by the formulas of docs/performance.md.
  [[nodiscard]] virtual double flops_per_token(std::int64_t sequence_length) const = 0;
};

}  // namespace halo::train
