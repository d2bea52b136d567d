#pragma once
#include <map>

#include "core/halo/student_pass.h"
#include "core/train/stage.h"

namespace halo::method {

/// Stage 2: the whole hybrid learns the teacher's distribution, KL(teacher || student) at temperature 1, mean over all
/// tokens. Source: HALO, arXiv 2601.22156; oracle `kl_loss`.
class DistillStage final : public train::Stage {
 public:
  /// Teacher and student are cut into the same chunks. All must outlive the stage.
  DistillStage(const Chunks& teacher, const Chunks& student, const model::ParameterSet& parameters,
               bool recompute, Stream& stream);

  std::string_view name() const override { return "distill"; }
  const model::ModelConfig& student_config() const override { return student_.config(); }
  const model::ParameterSet& trained() const override { return parameters_; }
  train::StageActions actions() const override {
    return {.teacher_forward = true, .backward = true};
  }
  int chunks() const override { return student_.chunks(); }
  std::int64_t counted_tokens(const data::MicroBatch& batch) const override {
    return batch.T * batch.B;
  }
  Shape activation_shape(const data::MicroBatch& batch) const override {
    return student_.activation_shape(batch);
  }
  void teacher_forward(const data::MicroBatch& batch, int chunk, Tensor& x) override;
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
  /// After the last chunk, from the hidden states h; d receives their gradient, or nothing.
  void loss(const train::LocalBatch& batch, int index, const Tensor& h, const TensorView& d,
            double gradient_scale, const TensorView& sum);

  const Chunks& teacher_;
  StudentPass student_;
  const model::ParameterSet& parameters_;
  Stream& stream_;
  std::map<int, Tensor> teacher_hidden_;  // by micro-batch
  std::map<int, Tensor> gradients_;       // of the student's final hidden states
};

}  // namespace halo::method
