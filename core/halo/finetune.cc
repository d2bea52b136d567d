#include "core/halo/finetune.h"

#include <algorithm>

#include "core/halo/stage_flops.h"

namespace halo::method {

FinetuneStage::FinetuneStage(std::string name, const Chunks& student,
                             const model::ParameterSet& parameters, bool recompute, Stream& stream)
    : name_(std::move(name)),
      student_(student, parameters.dtype(), recompute, stream),
      parameters_(parameters),
      stream_(stream) {}

std::int64_t FinetuneStage::counted_tokens(const data::MicroBatch& batch) const {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  return std::count_if(labels.begin(), labels.end(), [](std::int32_t label) { return label >= 0; });
}

void FinetuneStage::loss(const train::LocalBatch& batch, const Tensor& h, const TensorView& d,
                         double gradient_scale, const TensorView& sum) {
  const model::Head& head = student_.chunk(student_.chunks() - 1).head();
  head.ce_loss(student_.counted_once(sum), d, h, batch.labels, gradient_scale, stream_);
}

void FinetuneStage::forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                            double gradient_scale, TensorView sum) {
  const train::LocalBatch& local = student_.cut(batch);
  student_.forward(local, batch.index, chunk, x);
  if (!student_.chunk(chunk).is_last()) return;
  const Tensor h = std::move(x);
  Tensor d(stream_, h.view().shape, h.view().dtype);
  loss(local, h, d, gradient_scale, sum);
  gradients_[batch.index] = std::move(d);
}

void FinetuneStage::backward(const data::MicroBatch& batch, int chunk, Tensor& d) {
  if (student_.chunk(chunk).is_last()) {
    d = std::move(gradients_.at(batch.index));
    gradients_.erase(batch.index);
  }
  student_.backward(student_.cut(batch), batch.index, chunk, d);
}

void FinetuneStage::validation_forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                                       TensorView sum) {
  const train::LocalBatch& local = student_.cut(batch);
  student_.infer(local, chunk, x);
  if (!student_.chunk(chunk).is_last()) return;
  const Tensor h = std::move(x);
  loss(local, h, {}, 0.0, sum);
}

double FinetuneStage::flops_per_token(std::int64_t T) const {
  return finetune_flops(student_.config(), T);
}

}  // namespace halo::method
