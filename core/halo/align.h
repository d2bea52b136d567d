#pragma once
#include <map>

#include "core/halo/student_pass.h"
#include "core/train/stage.h"

namespace halo::method {

/// Stage 1: a lightning mixer for every layer learns to give what the teacher's attention gives, on the teacher's own
/// stream. The loss is the mean squared error over layers, tokens and channels; forward contains backward, since nothing
/// flows from one layer's student to another's.
/// Source: HALO, arXiv 2601.22156; oracle `stage1_loss`.
class AlignStage final : public train::Stage {
 public:
  /// `config` is the student with lightning mixers everywhere; `mixers` holds align_specs of the teacher's chunks. All
  /// must outlive it.
  AlignStage(const Chunks& teacher, const model::ModelConfig& config,
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
  int chunks() const override { return static_cast<int>(teacher_.size()); }
  double token_scale() const override;
  Shape activation_shape(const data::MicroBatch& batch) const override;
  void hold(std::span<const data::MicroBatch> batches) override { cutter_.hold(batches); }
  void let_go() override { cutter_.let_go(); }
  void set_hooks(const model::LayerHooks* hooks) override { hooks_ = hooks; }
  void forward(const data::MicroBatch& batch, int chunk, Tensor& x, double gradient_scale,
               TensorView sum) override;
  void validation_forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                          TensorView sum) override;
  double flops_per_token(std::int64_t sequence_length) const override;

 private:
  /// sum += the squared errors of a chunk's layers; gradients only when `train`.
  void run(const data::MicroBatch& batch, int chunk, Tensor& x, double gradient_scale, bool train,
           const TensorView& sum);

  const Chunks& teacher_;
  model::ModelConfig config_;
  const model::ParameterSet& parameters_;
  std::map<int, model::Mixer> mixers_;  // by layer
  train::BatchCutter cutter_;
  model::RopeTables rope_;
  Stream& stream_;
  const model::LayerHooks* hooks_ = nullptr;
};

}  // namespace halo::method
