#pragma once
#include <map>

#include "core/halo/student_pass.h"
#include "core/train/stage.h"

namespace halo::method {

/// Stage 2: the whole hybrid learns the teacher's distribution, KL(teacher || student) at temperature 1, mean over all
/// tokens. Source: HALO, arXiv 2601.22156; oracle `kl_loss`.
class DistillStage final : public train::Stage {
 public:
  /// All must outlive the stage.
  DistillStage(const model::Transformer& teacher, const model::Transformer& student,
               const model::ParameterSet& parameters, bool recompute, Stream& stream);

  std::string_view name() const override { return "distill"; }
  const model::ModelConfig& student_config() const override { return student_.student().config(); }
  const model::ParameterSet& trained() const override { return parameters_; }
  train::StageActions actions() const override {
    return {.teacher_forward = true, .backward = true};
  }
  std::int64_t counted_tokens(const data::MicroBatch& batch) const override {
    return batch.T * batch.B;
  }
  void teacher_forward(const data::MicroBatch& batch) override;
  double forward(const data::MicroBatch& batch, double gradient_scale) override;
  void backward(const data::MicroBatch& batch) override;
  train::LossSum validation_loss(const data::MicroBatch& batch) override;
  double flops_per_token(std::int64_t sequence_length) const override;

 private:
  const model::Transformer& teacher_;
  StudentPass student_;
  const model::ParameterSet& parameters_;
  Stream& stream_;
  std::map<int, Tensor> teacher_hidden_;  // by micro-batch
};

}  // namespace halo::method
