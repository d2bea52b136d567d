#include "core/train/local_batch.h"

#include <utility>

namespace halo::train {
namespace {

using parallel::SequenceCut;

/// Shapes alone, for the meta device.
LocalBatch without_tokens(LocalBatch local, bool padded, Stream& stream) {
  const Shape flat{local.T * local.B};
  local.ids = Tensor(stream, flat, DType::kInt32);
  local.labels = Tensor(stream, flat, DType::kInt32);
  if (padded) local.counted = Tensor(stream, flat, DType::kUint8);
  return local;
}

}  // namespace

std::int64_t padded_tokens(std::int64_t T, const model::ModelAxes& axes) {
  const int fragments = parallel::fragment_count(axes.context->size(), SequenceCut::Kind::kZigzag);
  const std::int64_t multiple = std::int64_t{fragments} * axes.tensor.size();
  return (T + multiple - 1) / multiple * multiple;
}

LocalBatch BatchCutter::operator()(const data::MicroBatch& batch) {
  auto& cut = cuts_[batch.T];
  if (cut == nullptr) {
    cut = std::make_shared<SequenceCut>(padded_tokens(batch.T, *axes_), axes_->context->size(),
                                        SequenceCut::Kind::kZigzag);
  }
  const std::int64_t B = batch.B;
  LocalBatch local;
  local.cut = cut;
  local.T = cut->tokens_per_rank();
  local.B = B;
  if (stream_->device() == Device::kMeta)
    return without_tokens(std::move(local), cut->tokens() > batch.T, *stream_);
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
  local.ids = Tensor::copy_of(*stream_, view(ids.data(), flat));
  local.labels = Tensor::copy_of(*stream_, view(own_labels.data(), flat));
  if (!document_start.empty())
    local.document_start = Tensor::copy_of(*stream_, view(document_start.data(), {local.T, B}));
  if (cut->tokens() > batch.T)
    local.counted = Tensor::copy_of(*stream_, view(counted.data(), flat));
  return local;
}

model::Sequence BatchCutter::sequence(const LocalBatch& batch, model::RopeTables& rope) const {
  model::Sequence s = rope.sequence(batch.cut, axes_->context->rank(), batch.B, *stream_);
  if (!batch.document_start.empty()) s.document_start = batch.document_start;
  return s;
}

}  // namespace halo::train
