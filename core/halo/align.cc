#include "core/halo/align.h"

#include "core/halo/stage_flops.h"
#include "kernels/losses.h"

namespace halo::method {

AlignStage::AlignStage(const model::Transformer& teacher, const model::ModelConfig& config,
                       const model::ParameterSet& mixers, Stream& stream)
    : teacher_(teacher),
      config_(config),
      parameters_(mixers),
      rope_(config, mixers.dtype()),
      stream_(stream) {
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) {
    mixers_.emplace_back(model::mixer_options(config_, layer), mixers.lookup(),
                         model::mixer_prefix(layer));
  }
}

double AlignStage::token_scale() const {
  return 1.0 / (static_cast<double>(config_.num_hidden_layers) *
                static_cast<double>(config_.hidden_size));
}

double AlignStage::forward(const data::MicroBatch& batch, double gradient_scale) {
  return run(batch, gradient_scale, /*train=*/true);
}

train::LossSum AlignStage::validation_loss(const data::MicroBatch& batch) {
  return {run(batch, 0.0, /*train=*/false), counted_tokens(batch)};
}

double AlignStage::run(const data::MicroBatch& batch, double gradient_scale, bool train) {
  model::Sequence sequence = rope_.sequence(batch.T, batch.B, 0, stream_);
  sequence.document_start = data::document_starts(batch);
  const DType dtype = parameters_.dtype();
  const Shape shape{sequence.rows(), config_.hidden_size};
  Tensor x(stream_, shape, dtype), h(stream_, shape, dtype), y(stream_, shape, dtype),
      student(stream_, shape, dtype);
  Tensor inv_rms(stream_, {sequence.rows()}, wide_dtype(dtype));
  teacher_.embed(x, data::token_ids(batch), stream_);
  double sum = 0.0;
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) {
    const model::Block& block = teacher_.block(layer);
    const model::Mixer& mixer = mixers_[static_cast<std::size_t>(layer)];
    block.normalise_input(h, inv_rms, x, stream_);
    {
      model::Mixer::Saved unused;
      block.mixer().forward(y, h, sequence, unused, nullptr, stream_);
    }
    model::Mixer::Saved saved;
    mixer.forward(student, h, sequence, saved, nullptr, stream_);
    sum += kernels::mse_loss(student, student, y, {}, gradient_scale,
                             stream_);  // student becomes its gradient
    if (train) mixer.backward({}, student, h, sequence, saved, stream_);
    if (layer + 1 < config_.num_hidden_layers) block.finish(x, y, stream_);
  }
  return sum;
}

double AlignStage::flops_per_token(std::int64_t T) const {
  return align_flops(teacher_.config(), config_, T);
}

}  // namespace halo::method
