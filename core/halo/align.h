#pragma once
#include <vector>

#include "core/model/transformer.h"
#include "core/train/stage.h"

namespace halo::method {

/// Stage 1: a lightning mixer for every layer learns to give what the teacher's attention gives, on the teacher's own
/// stream. The loss is the mean squared error over layers, tokens and channels; forward contains backward, since nothing
/// flows from one layer's student to another's.
/// Source: HALO, arXiv 2601.22156; oracle `stage1_loss`.
class AlignStage final : public train::Stage {
 public:
  /// `config` is the student with lightning mixers everywhere; `mixers` holds align_specs(config). All must outlive it.
  AlignStage(const model::Transformer& teacher, const model::ModelConfig& config,
             const model::ParameterSet& mixers, Stream& stream);

  std::string_view name() const override { return "align"; }
  const model::ModelConfig& student_config() const override { return config_; }
  const model::ParameterSet& trained() const override { return parameters_; }
  train::StageActions actions() const override {
    return {.teacher_forward = false, .backward = false};
  }
  std::int64_t counted_tokens(const data::MicroBatch& batch) const override {
    return batch.T * batch.B;
  }
  double token_scale() const override;
  double forward(const data::MicroBatch& batch, double gradient_scale) override;
  train::LossSum validation_loss(const data::MicroBatch& batch) override;
  double flops_per_token(std::int64_t sequence_length) const override;

 private:
  /// The sum of squared errors of all layers; gradients only when `train`.
  double run(const data::MicroBatch& batch, double gradient_scale, bool train);

  const model::Transformer& teacher_;
  model::ModelConfig config_;
  const model::ParameterSet& parameters_;
  std::vector<model::Mixer> mixers_;
  model::RopeTables rope_;
  Stream& stream_;
};

}  // namespace halo::method
