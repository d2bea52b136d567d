#pragma once
#include <cstdint>
#include <vector>

#include "core/base/tensor_view.h"
#include "data/loader.h"

namespace halo::data {

/// (N) int32 view of a micro-batch's tokens, N = T * B, token (t, b) in row t * B + b.
[[nodiscard]] inline TensorView token_ids(const MicroBatch& batch) {
  return view(batch.tokens.data(), {batch.T * batch.B});
}

/// (T, B) int32 view of its document starts; empty when there are no document masks.
[[nodiscard]] inline TensorView document_starts(const MicroBatch& batch) {
  return batch.document_start.empty() ? TensorView{}
                                      : view(batch.document_start.data(), {batch.T, batch.B});
}

/// (N) labels: the token that follows each, -1 for the last of a sequence and, under document masks, of a document.
[[nodiscard]] std::vector<std::int32_t> next_token_labels(const MicroBatch& batch);

}  // namespace halo::data
