#include "core/halo/distill.h"

#include "core/halo/stage_flops.h"

namespace halo::method {

DistillStage::DistillStage(const model::Transformer& teacher, const model::Transformer& student,
                           const model::ParameterSet& parameters, bool recompute, Stream& stream)
    : teacher_(teacher),
      student_(student, parameters.dtype(), recompute, stream),
      parameters_(parameters),
      stream_(stream) {}

void DistillStage::teacher_forward(const data::MicroBatch& batch) {
  teacher_hidden_[batch.index] =
      teacher_.hidden(data::token_ids(batch), student_.sequence_of(batch), stream_);
}

double DistillStage::forward(const data::MicroBatch& batch, double gradient_scale) {
  const StudentPass::Forward pass = student_.forward(batch);
  const Tensor h_teacher = std::move(teacher_hidden_.at(batch.index));
  teacher_hidden_.erase(batch.index);
  return student_.student().head().kl_loss(pass.d, pass.h, h_teacher, teacher_.head(), {},
                                           gradient_scale, stream_);
}

void DistillStage::backward(const data::MicroBatch& batch) { student_.backward(batch); }

train::LossSum DistillStage::validation_loss(const data::MicroBatch& batch) {
  const Tensor h_teacher =
      teacher_.hidden(data::token_ids(batch), student_.sequence_of(batch), stream_);
  const Tensor h = student_.hidden(batch);
  return {student_.student().head().kl_loss({}, h, h_teacher, teacher_.head(), {}, 0.0, stream_),
          counted_tokens(batch)};
}

double DistillStage::flops_per_token(std::int64_t T) const {
  return distill_flops(teacher_.config(), student_.student().config(), T);
}

}  // namespace halo::method
