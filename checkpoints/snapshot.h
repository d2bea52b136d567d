#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "core/base/tensor.h"

namespace halo::checkpoints {

/// A copy of a rank's training state in host memory, from which a checkpoint is written while training goes on. The memory
/// is as large as the state, pinned beside a GPU, asked for at the first copy and used again by later ones.
class Snapshot {
 public:
  /// Copies the pieces' values, contiguous on the stream's device or on the host. They are there when the call returns,
  /// and the result is valid until the next call. Throws Error when there is no memory for them.
  [[nodiscard]] std::span<const CheckpointPiece> take(std::span<const CheckpointPiece> pieces,
                                                      Stream& stream);
  /// Of the memory.
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  void obtain(std::int64_t bytes, Stream& stream);

  std::int64_t bytes_ = 0;
  std::shared_ptr<Allocator> allocator_;
  std::unique_ptr<AllocatorBlock> memory_;
  std::vector<CheckpointPiece> pieces_;
};

}  // namespace halo::checkpoints
