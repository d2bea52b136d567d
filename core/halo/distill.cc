#include "core/halo/distill.h"

#include "core/halo/stage_flops.h"

namespace halo::method {

DistillStage::DistillStage(const model::Transformer& teacher, const model::Transformer& student,
                           const model::ParameterSet& parameters, bool recompute, Stream& stream)
    : teacher_(teacher),
      student_(student),
      parameters_(parameters),
      recompute_(recompute),
      rope_(student.config(), parameters.dtype()),
      stream_(stream) {}

model::Sequence DistillStage::sequence_of(const data::MicroBatch& batch) {
  model::Sequence sequence = rope_.sequence(batch.T, batch.B, 0, stream_);
  sequence.document_start = data::document_starts(batch);
  return sequence;
}

void DistillStage::teacher_forward(const data::MicroBatch& batch) {
  teacher_hidden_[batch.index] =
      teacher_.hidden(data::token_ids(batch), sequence_of(batch), stream_);
}

double DistillStage::forward(const data::MicroBatch& batch, double gradient_scale) {
  InFlight& in_flight = in_flight_[batch.index];
  const Tensor h = student_.forward(data::token_ids(batch), sequence_of(batch), recompute_,
                                    in_flight.saved, stream_);
  const Tensor h_teacher = std::move(teacher_hidden_.at(batch.index));
  teacher_hidden_.erase(batch.index);
  in_flight.d = Tensor(stream_, h.view().shape, h.view().dtype);
  return student_.head().kl_loss(in_flight.d, h, h_teacher, teacher_.head(), {}, gradient_scale,
                                 stream_);
}

void DistillStage::backward(const data::MicroBatch& batch) {
  InFlight& in_flight = in_flight_.at(batch.index);
  student_.backward(in_flight.d, sequence_of(batch), in_flight.saved, stream_);
  in_flight_.erase(batch.index);
}

train::LossSum DistillStage::validation_loss(const data::MicroBatch& batch) {
  const model::Sequence sequence = sequence_of(batch);
  const Tensor h_teacher = teacher_.hidden(data::token_ids(batch), sequence, stream_);
  const Tensor h = student_.hidden(data::token_ids(batch), sequence, stream_);
  return {student_.head().kl_loss({}, h, h_teacher, teacher_.head(), {}, 0.0, stream_),
          counted_tokens(batch)};
}

double DistillStage::flops_per_token(std::int64_t T) const {
  return distill_flops(teacher_.config(), student_.config(), T);
}

}  // namespace halo::method
