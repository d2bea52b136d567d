#include "core/halo/align.h"

#include "core/halo/stage_flops.h"
#include "kernels/losses.h"

namespace halo::method {

AlignStage::AlignStage(const Chunks& teacher, const model::ModelConfig& config,
                       const model::ParameterSet& mixers, Stream& stream)
    : teacher_(teacher),
      config_(config),
      parameters_(mixers),
      cutter_(teacher.front().axes(), stream),
      rope_(config, mixers.dtype()),
      stream_(stream) {
  for (const model::Transformer& chunk : teacher) {
    for (int layer = chunk.held().begin; layer < chunk.held().end; ++layer) {
      mixers_.emplace(layer, model::Mixer(model::mixer_options(config_, layer), mixers.lookup(),
                                          model::mixer_prefix(layer), chunk.axes()));
    }
  }
}

double AlignStage::token_scale() const {
  return 1.0 / (static_cast<double>(config_.num_hidden_layers) *
                static_cast<double>(config_.hidden_size));
}

Shape AlignStage::activation_shape(const data::MicroBatch& batch) const {
  const model::ModelAxes& axes = teacher_.front().axes();
  const std::int64_t rows = train::padded_tokens(batch.T, axes) * batch.B;
  return {rows / axes.context->size() / axes.tensor.size(), config_.hidden_size};
}

void AlignStage::forward(const data::MicroBatch& batch, int chunk, Tensor& x, double gradient_scale,
                         TensorView sum) {
  run(batch, chunk, x, gradient_scale, /*train=*/true, sum);
}

void AlignStage::validation_forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                                    TensorView sum) {
  run(batch, chunk, x, 0.0, /*train=*/false, sum);
}

void AlignStage::run(const data::MicroBatch& batch, int chunk, Tensor& x, double gradient_scale,
                     bool train, const TensorView& sum) {
  const train::LocalBatch& local = cutter_(batch);
  const model::Sequence sequence = cutter_.sequence(local, rope_);
  const model::Transformer& teacher = teacher_[static_cast<std::size_t>(chunk)];
  if (teacher.is_first()) {
    x = teacher.activations(sequence, stream_);
    teacher.embed(x, local.ids, stream_);
  }
  const Shape shape = x.view().shape;
  const DType dtype = parameters_.dtype();
  const Tensor h(stream_, shape, dtype), y(stream_, shape, dtype), student(stream_, shape, dtype);
  const Tensor inv_rms(stream_, {shape[0]}, wide_dtype(dtype));
  const int rank = teacher.axes().tensor.rank();
  const TensorView counted =
      local.counted.empty() ? TensorView{}
                            : local.counted.view().slice(0, rank * shape[0], (rank + 1) * shape[0]);
  for (int layer = teacher.held().begin; layer < teacher.held().end; ++layer) {
    const model::Block& block = teacher.block(layer);
    const model::Mixer& mixer = mixers_.at(layer);
    block.normalise_input(h, inv_rms, x, stream_);
    {
      model::Mixer::Saved unused;
      block.mixer().forward(y, /*addend=*/{}, h, sequence, unused, nullptr, stream_);
    }
    if (hooks_ != nullptr) hooks_->before_forward(layer);
    model::Mixer::Saved saved;
    mixer.forward(student, /*addend=*/{}, h, sequence, saved, nullptr, stream_);
    kernels::add_mse_loss(sum, student, student, y, counted, gradient_scale,
                          stream_);  // student becomes its gradient
    if (train) mixer.backward({}, student, h, sequence, saved, stream_);
    if (train && hooks_ != nullptr) hooks_->after_backward(layer);
    if (layer + 1 < config_.num_hidden_layers) block.finish(x, y, stream_);
  }
  if (teacher.is_last()) x.reset();
}

double AlignStage::flops_per_token(std::int64_t T) const {
  return align_flops(teacher_.front().config(), config_, T);
}

}  // namespace halo::method
