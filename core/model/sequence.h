#pragma once
#include <cstdint>
#include <memory>

#include "core/base/tensor_view.h"
#include "parallel/sequence_cut.h"

namespace halo::model {

/// What the layers know of the tokens of one pass beside their activations. A rank of the context axis holds T tokens of
/// each sequence, its fragments one after the other; token (t, b) is row t * B + b. Inside a layer's products all ranks
/// of the tensor axis have these rows; between layers each has its run of them.
struct Sequence {
  std::int64_t T = 0;
  std::int64_t B = 0;
  std::int64_t first_position = 0;  // of t = 0: more than 0 when a cache holds what came before
  TensorView cos, sin;              // (T, K/2): RoPE at these positions
  TensorView
      document_start;  // (T, B) int32: index of the first token of each token's document in the whole sequence;
                       // empty: no masks
  std::shared_ptr<const parallel::SequenceCut> cut;  // null: one rank holds all tokens
  int context_rank = 0;

  [[nodiscard]] std::int64_t rows() const { return T * B; }
  /// This rank's fragments; one of all tokens without a cut, from first_position on.
  [[nodiscard]] std::vector<parallel::Fragment> fragments() const {
    if (cut) return cut->of_rank(context_rank);
    return {{0, 0, 0, first_position, first_position + T}};
  }
};

}  // namespace halo::model
