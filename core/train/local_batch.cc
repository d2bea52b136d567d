#include "core/train/local_batch.h"

#include <utility>

namespace halo::train {
namespace {

using parallel::SequenceCut;

/// Dense memory of `shape`, that of `to` where it has it already.
void make(Tensor& to, const Shape& shape, DType dtype, Stream& stream) {
  if (to.empty() || to.view().shape != shape) to = Tensor(stream, shape, dtype);
}

template <class T>
void bring(Tensor& to, const Shape& shape, std::vector<T>& values, Stream& stream) {
  const TensorView from = view(values.data(), shape);
  make(to, shape, from.dtype, stream);
  copy(to, from, stream);
}

/// Shapes alone, for the meta device.
void without_tokens(LocalBatch& local, bool padded, Stream& stream) {
  const Shape flat{local.T * local.B};
  make(local.ids, flat, DType::kInt32, stream);
  make(local.labels, flat, DType::kInt32, stream);
  if (padded) make(local.counted, flat, DType::kUint8, stream);
}

}  // namespace

std::int64_t padded_tokens(std::int64_t T, const model::ModelAxes& axes) {
  const int fragments = parallel::fragment_count(axes.context->size(), SequenceCut::Kind::kZigzag);
  const std::int64_t multiple = std::int64_t{fragments} * axes.tensor.size();
  return (T + multiple - 1) / multiple * multiple;
}

void BatchCutter::cut(const data::MicroBatch& batch, LocalBatch& local) {
  auto& cut = cuts_[batch.T];
  if (cut == nullptr) {
    cut = std::make_shared<SequenceCut>(padded_tokens(batch.T, *axes_), axes_->context->size(),
                                        SequenceCut::Kind::kZigzag);
  }
  const std::int64_t B = batch.B;
  local.cut = cut;
  local.T = cut->tokens_per_rank();
  local.B = B;
  const bool padded = cut->tokens() > batch.T;
  if (batch.document_start.empty()) local.document_start.reset();
  if (!padded) local.counted.reset();
  if (stream_->device() == Device::kMeta) return without_tokens(local, padded, *stream_);
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  std::vector<std::int32_t> ids, own_labels, document_start;
  std::vector<std::uint8_t> counted;
  for (const parallel::Fragment& fragment : cut->of_rank(axes_->context->rank())) {
    const std::int64_t end = std::min(fragment.end, batch.T),
                       padding = fragment.end - std::max(end, fragment.begin);
    const auto take = [&](const std::vector<std::int32_t>& from, std::vector<std::int32_t>& to,
                          std::int32_t filler) {
      if (fragment.begin < end)
        to.insert(to.end(), from.begin() + fragment.begin * B, from.begin() + end * B);
      to.insert(to.end(), static_cast<std::size_t>(padding * B), filler);
    };
    take(batch.tokens, ids, 0);
    take(labels, own_labels, -1);
    // Padding is a document of its own, behind all others.
    if (!batch.document_start.empty())
      take(batch.document_start, document_start, static_cast<std::int32_t>(batch.T));
    counted.resize(ids.size() - static_cast<std::size_t>(padding * B), 1);
    counted.resize(ids.size(), 0);
  }
  const Shape flat{std::ssize(ids)};
  bring(local.ids, flat, ids, *stream_);
  bring(local.labels, flat, own_labels, *stream_);
  if (!document_start.empty()) bring(local.document_start, {local.T, B}, document_start, *stream_);
  if (padded) bring(local.counted, flat, counted, *stream_);
}

const LocalBatch& BatchCutter::operator()(const data::MicroBatch& batch) {
  if (holds_) return held_.at(batch.index);
  cut(batch, loose_);
  return loose_;
}

void BatchCutter::hold(std::span<const data::MicroBatch> batches) {
  for (const data::MicroBatch& batch : batches)
    if (batch.B > 0) cut(batch, held_[batch.index]);
  holds_ = true;
}

model::Sequence BatchCutter::sequence(const LocalBatch& batch, model::RopeTables& rope) const {
  model::Sequence s = rope.sequence(batch.cut, axes_->context->rank(), batch.B, *stream_);
  if (!batch.document_start.empty()) s.document_start = batch.document_start;
  return s;
}

}  // namespace halo::train
