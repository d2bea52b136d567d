#pragma once
#include <map>
#include <string>

#include "core/halo/student_pass.h"
#include "core/train/stage.h"

namespace halo::method {

/// Stage 3: next-token cross-entropy on long sequences, without a teacher. Pretraining is the same loss on a fresh model.
/// Source: HALO, arXiv 2601.22156; oracle `ce_loss`.
class FinetuneStage final : public train::Stage {
 public:
  /// `name` is "finetune" or "pretrain". All must outlive the stage.
  FinetuneStage(std::string name, const Chunks& student, const model::ParameterSet& parameters,
                bool recompute, Stream& stream);

  std::string_view name() const override { return name_; }
  const model::ModelConfig& student_config() const override { return student_.config(); }
  const model::ParameterSet& trained() const override { return parameters_; }
  train::StageActions actions() const override {
    return {.teacher_forward = false, .backward = true};
  }
  int chunks() const override { return student_.chunks(); }
  std::int64_t counted_tokens(const data::MicroBatch& batch) const override;
  Shape activation_shape(const data::MicroBatch& batch) const override {
    return student_.activation_shape(batch);
  }
  void forward(const data::MicroBatch& batch, int chunk, Tensor& x, double gradient_scale,
               TensorView sum) override;
  void backward(const data::MicroBatch& batch, int chunk, Tensor& d) override;
  void hold(std::span<const data::MicroBatch> batches) override { student_.hold(batches); }
  void let_go() override { student_.let_go(); }
  void set_hooks(const model::LayerHooks* hooks) override { student_.set_hooks(hooks); }
  void validation_forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                          TensorView sum) override;
  double flops_per_token(std::int64_t sequence_length) const override;

 private:
  void loss(const train::LocalBatch& batch, const Tensor& h, const TensorView& d,
            double gradient_scale, const TensorView& sum);

  std::string name_;
  StudentPass student_;
  const model::ParameterSet& parameters_;
  Stream& stream_;
  std::map<int, Tensor> gradients_;  // of the final hidden states, by micro-batch
};

}  // namespace halo::method
