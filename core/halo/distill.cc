#include "core/halo/distill.h"

#include "core/halo/stage_flops.h"

namespace halo::method {

DistillStage::DistillStage(const Chunks& teacher, const Chunks& student,
                           const model::ParameterSet& parameters, bool recompute, Stream& stream)
    : teacher_(teacher),
      student_(student, parameters.dtype(), recompute, stream),
      parameters_(parameters),
      stream_(stream) {}

void DistillStage::teacher_forward(const data::MicroBatch& batch, int chunk, Tensor& x) {
  const train::LocalBatch& local = student_.cut(batch);
  const model::Transformer& teacher = teacher_[static_cast<std::size_t>(chunk)];
  x = teacher.infer(local.ids, std::move(x), student_.sequence_of(local), stream_);
  if (teacher.is_last()) teacher_hidden_[batch.index] = std::move(x);
}

void DistillStage::loss(const train::LocalBatch& batch, int index, const Tensor& h,
                        const TensorView& d, double gradient_scale, const TensorView& sum) {
  const auto hidden = teacher_hidden_.find(index);
  HALO_REQUIRE(hidden != teacher_hidden_.end(), str("no teacher's pass of micro-batch ", index));
  const Tensor h_teacher = std::move(hidden->second);
  teacher_hidden_.erase(hidden);
  const model::Head& head = student_.chunk(student_.chunks() - 1).head();
  head.kl_loss(student_.counted_once(sum), d, h, h_teacher, teacher_.back().head(), batch.counted,
               gradient_scale, stream_);
}

void DistillStage::forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                           double gradient_scale, TensorView sum) {
  const train::LocalBatch& local = student_.cut(batch);
  student_.forward(local, batch.index, chunk, x);
  if (!student_.chunk(chunk).is_last()) return;
  const Tensor h = std::move(x);
  Tensor d(stream_, h.view().shape, h.view().dtype);
  loss(local, batch.index, h, d, gradient_scale, sum);
  gradients_[batch.index] = std::move(d);
}

void DistillStage::backward(const data::MicroBatch& batch, int chunk, Tensor& d) {
  if (student_.chunk(chunk).is_last()) {
    d = std::move(gradients_.at(batch.index));
    gradients_.erase(batch.index);
  }
  student_.backward(student_.cut(batch), batch.index, chunk, d);
}

void DistillStage::validation_forward(const data::MicroBatch& batch, int chunk, Tensor& x,
                                      TensorView sum) {
  const train::LocalBatch& local = student_.cut(batch);
  student_.infer(local, chunk, x);
  if (!student_.chunk(chunk).is_last()) return;
  const Tensor h = std::move(x);
  loss(local, batch.index, h, {}, 0.0, sum);
}

double DistillStage::flops_per_token(std::int64_t T) const {
  return distill_flops(teacher_.front().config(), student_.config(), T);
}

}  // namespace halo::method
