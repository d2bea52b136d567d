#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "core/model/model_axes.h"
#include "core/model/sequence.h"
#include "core/model/transformer.h"
#include "data/batch_views.h"

namespace halo::train {

/// What the ranks of one place on the context axis see of a micro-batch: the tokens of their fragments, the sequence
/// padded to what the axes divide. Padding follows all tokens and counts in no loss.
struct LocalBatch {
  std::shared_ptr<const parallel::SequenceCut> cut;
  std::int64_t T = 0;  // tokens a sequence here
  std::int64_t B = 0;
  std::vector<std::int32_t> ids;  // (T, B)
  std::vector<std::int32_t>
      labels;  // (T, B): the token that follows each in the whole sequence, -1 for none
  std::vector<std::int32_t> document_start;  // (T, B) in tokens of the whole sequence, or empty
  std::vector<std::uint8_t> counted;         // (T, B): 0 for padding; empty without padding

  [[nodiscard]] std::int64_t rows() const { return T * B; }
  [[nodiscard]] TensorView ids_view() const { return view(ids.data(), {rows()}); }
  [[nodiscard]] TensorView labels_view() const { return view(labels.data(), {rows()}); }
  [[nodiscard]] TensorView counted_view() const {
    return counted.empty() ? TensorView{} : view(counted.data(), {rows()});
  }
};

/// Cuts micro-batches, and remembers the cuts.
class BatchCutter {
 public:
  explicit BatchCutter(const model::ModelAxes& axes) : axes_(&axes) {}

  [[nodiscard]] LocalBatch operator()(const data::MicroBatch& batch);
  /// What the layers need to know of it. Valid as long as `batch`, and until `rope` makes another.
  [[nodiscard]] model::Sequence sequence(const LocalBatch& batch, model::RopeTables& rope,
                                         Stream& stream) const;

 private:
  const model::ModelAxes* axes_;
  std::map<std::int64_t, std::shared_ptr<const parallel::SequenceCut>> cuts_;  // by length
};

/// Tokens that a sequence of T is padded to on these axes.
[[nodiscard]] std::int64_t padded_tokens(std::int64_t T, const model::ModelAxes& axes);

}  // namespace halo::train
