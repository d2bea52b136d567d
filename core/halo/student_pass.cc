#include "core/halo/student_pass.h"

namespace halo::method {

model::Sequence StudentPass::sequence_of(const data::MicroBatch& batch) {
  model::Sequence sequence = rope_.sequence(batch.T, batch.B, 0, stream_);
  sequence.document_start = data::document_starts(batch);
  return sequence;
}

StudentPass::Forward StudentPass::forward(const data::MicroBatch& batch) {
  InFlight& in_flight = in_flight_[batch.index];
  Forward result;
  result.h = student_.forward(data::token_ids(batch), sequence_of(batch), recompute_,
                              in_flight.saved, stream_);
  in_flight.d = Tensor(stream_, result.h.view().shape, result.h.view().dtype);
  result.d = in_flight.d;
  return result;
}

void StudentPass::backward(const data::MicroBatch& batch) {
  InFlight& in_flight = in_flight_.at(batch.index);
  student_.backward(in_flight.d, sequence_of(batch), in_flight.saved, stream_);
  in_flight_.erase(batch.index);
}

Tensor StudentPass::hidden(const data::MicroBatch& batch) {
  return student_.hidden(data::token_ids(batch), sequence_of(batch), stream_);
}

}  // namespace halo::method
