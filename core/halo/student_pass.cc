#include "core/halo/student_pass.h"

namespace halo::method {

Shape StudentPass::activation_shape(const data::MicroBatch& batch) const {
  const std::int64_t rows = train::padded_tokens(batch.T, axes()) * batch.B;
  return {rows / axes().context->size() / axes().tensor.size(), config().hidden_size};
}

void StudentPass::forward(const train::LocalBatch& batch, int index, int i, Tensor& x) {
  x = chunk(i).forward(batch.ids, std::move(x), sequence_of(batch), recompute_,
                       in_flight_[{index, i}], stream_, hooks_);
}

void StudentPass::backward(const train::LocalBatch& batch, int index, int i, Tensor& d) {
  const auto saved = in_flight_.find({index, i});
  HALO_REQUIRE(saved != in_flight_.end(), str("no forward pass of micro-batch ", index));
  chunk(i).backward(d, sequence_of(batch), saved->second, stream_, hooks_);
  in_flight_.erase(saved);
}

void StudentPass::infer(const train::LocalBatch& batch, int i, Tensor& x) {
  x = chunk(i).infer(batch.ids, std::move(x), sequence_of(batch), stream_, hooks_);
}

}  // namespace halo::method
