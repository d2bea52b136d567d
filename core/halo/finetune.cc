#include "core/halo/finetune.h"

#include <algorithm>

#include "core/halo/stage_flops.h"

namespace halo::method {

FinetuneStage::FinetuneStage(std::string name, const model::Transformer& student,
                             const model::ParameterSet& parameters, bool recompute, Stream& stream)
    : name_(std::move(name)),
      student_(student, parameters.dtype(), recompute, stream),
      parameters_(parameters),
      stream_(stream) {}

std::int64_t FinetuneStage::counted_tokens(const data::MicroBatch& batch) const {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  return std::count_if(labels.begin(), labels.end(), [](std::int32_t label) { return label >= 0; });
}

double FinetuneStage::forward(const data::MicroBatch& batch, double gradient_scale) {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  const StudentPass::Forward pass = student_.forward(batch);
  return student_.student().head().ce_loss(pass.d, pass.h, view(labels.data(), {batch.T * batch.B}),
                                           gradient_scale, stream_);
}

void FinetuneStage::backward(const data::MicroBatch& batch) { student_.backward(batch); }

train::LossSum FinetuneStage::validation_loss(const data::MicroBatch& batch) {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  const Tensor h = student_.hidden(batch);
  return {student_.student().head().ce_loss({}, h, view(labels.data(), {batch.T * batch.B}), 0.0,
                                            stream_),
          counted_tokens(batch)};
}

double FinetuneStage::flops_per_token(std::int64_t T) const {
  return finetune_flops(student_.student().config(), T);
}

}  // namespace halo::method
