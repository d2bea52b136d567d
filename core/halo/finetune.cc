#include "core/halo/finetune.h"

#include <algorithm>

#include "core/halo/stage_flops.h"

namespace halo::method {

FinetuneStage::FinetuneStage(std::string name, const model::Transformer& student,
                             const model::ParameterSet& parameters, bool recompute, Stream& stream)
    : name_(std::move(name)),
      student_(student),
      parameters_(parameters),
      recompute_(recompute),
      rope_(student.config(), parameters.dtype()),
      stream_(stream) {}

std::int64_t FinetuneStage::counted_tokens(const data::MicroBatch& batch) const {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  return std::count_if(labels.begin(), labels.end(), [](std::int32_t label) { return label >= 0; });
}

model::Sequence FinetuneStage::sequence_of(const data::MicroBatch& batch) {
  model::Sequence sequence = rope_.sequence(batch.T, batch.B, 0, stream_);
  sequence.document_start = data::document_starts(batch);
  return sequence;
}

double FinetuneStage::forward(const data::MicroBatch& batch, double gradient_scale) {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  InFlight& in_flight = in_flight_[batch.index];
  const Tensor h = student_.forward(data::token_ids(batch), sequence_of(batch), recompute_,
                                    in_flight.saved, stream_);
  in_flight.d = Tensor(stream_, h.view().shape, h.view().dtype);
  return student_.head().ce_loss(in_flight.d, h, view(labels.data(), {batch.T * batch.B}),
                                 gradient_scale, stream_);
}

void FinetuneStage::backward(const data::MicroBatch& batch) {
  InFlight& in_flight = in_flight_.at(batch.index);
  student_.backward(in_flight.d, sequence_of(batch), in_flight.saved, stream_);
  in_flight_.erase(batch.index);
}

train::LossSum FinetuneStage::validation_loss(const data::MicroBatch& batch) {
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  const Tensor h = student_.hidden(data::token_ids(batch), sequence_of(batch), stream_);
  return {student_.head().ce_loss({}, h, view(labels.data(), {batch.T * batch.B}), 0.0, stream_),
          counted_tokens(batch)};
}

double FinetuneStage::flops_per_token(std::int64_t T) const {
  return finetune_flops(student_.config(), T);
}

}  // namespace halo::method
