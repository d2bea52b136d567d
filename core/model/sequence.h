#pragma once
#include <cstdint>

#include "core/base/tensor_view.h"

namespace halo::model {

/// What the layers know of the tokens of one pass beside their activations. Activations are (T * B, ...), token (t, b) in
/// row t * B + b.
struct Sequence {
  std::int64_t T = 0;
  std::int64_t B = 0;
  std::int64_t first_position = 0;  // of t = 0: more than 0 when a cache holds what came before
  TensorView cos, sin;              // (T, K/2): RoPE at these positions
  TensorView
      document_start;  // (T, B) int32: index of the first token of each token's document; empty: no masks

  [[nodiscard]] std::int64_t rows() const { return T * B; }
};

}  // namespace halo::model
