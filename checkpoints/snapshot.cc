#include "checkpoints/snapshot.h"

#include "core/base/cuda_device.h"

namespace halo::checkpoints {
namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned(std::size_t bytes) {
  return (static_cast<std::int64_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

void Snapshot::obtain(std::int64_t bytes, Stream& stream) {
  memory_.reset();  // the old one first: there is never more than one
  bytes_ = 0;
  allocator_ = stream.device() == Device::kCuda ? make_pinned_allocator() : stream.allocator();
  memory_ = std::make_unique<AllocatorBlock>(*allocator_, static_cast<std::size_t>(bytes));
  bytes_ = bytes;
}

std::span<const CheckpointPiece> Snapshot::take(std::span<const CheckpointPiece> pieces,
                                                Stream& stream) {
  pieces_.assign(pieces.begin(), pieces.end());
  std::int64_t needed = 0;
  for (const CheckpointPiece& piece : pieces_) {
    for (const TensorView* values : {&piece.master, &piece.m, &piece.v})
      needed += aligned(values->bytes());
  }
  if (memory_ == nullptr || needed > bytes_) obtain(needed, stream);
  std::byte* place = memory_->begin();
  for (CheckpointPiece& piece : pieces_) {
    for (TensorView* values : {&piece.master, &piece.m, &piece.v}) {
      if (values->empty()) continue;
      const TensorView copied(place, values->dtype, values->shape);
      if (values->size() > 0) copy(copied, *values, stream);
      place += aligned(values->bytes());
      *values = copied;
    }
  }
  return pieces_;
}

}  // namespace halo::checkpoints
