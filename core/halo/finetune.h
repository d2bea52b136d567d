#pragma once
#include <string>

#include "core/halo/student_pass.h"
#include "core/train/stage.h"

namespace halo::method {

/// Stage 3: next-token cross-entropy on long sequences, without a teacher. Pretraining is the same loss on a fresh model.
/// Source: HALO, arXiv 2601.22156; oracle `ce_loss`.
class FinetuneStage final : public train::Stage {
 public:
  /// `name` is "finetune" or "pretrain". All must outlive the stage.
  FinetuneStage(std::string name, const model::Transformer& student,
                const model::ParameterSet& parameters, bool recompute, Stream& stream);

  std::string_view name() const override { return name_; }
  const model::ModelConfig& student_config() const override { return student_.student().config(); }
  const model::ParameterSet& trained() const override { return parameters_; }
  train::StageActions actions() const override {
    return {.teacher_forward = false, .backward = true};
  }
  std::int64_t counted_tokens(const data::MicroBatch& batch) const override;
  double forward(const data::MicroBatch& batch, double gradient_scale) override;
  void backward(const data::MicroBatch& batch) override;
  train::LossSum validation_loss(const data::MicroBatch& batch) override;
  double flops_per_token(std::int64_t sequence_length) const override;

 private:
  std::string name_;
  StudentPass student_;
  const model::ParameterSet& parameters_;
  Stream& stream_;
};

}  // namespace halo::method
