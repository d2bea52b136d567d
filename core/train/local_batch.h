#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
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
  Tensor ids;             // (T * B) int32
  Tensor labels;          // (T * B) int32: what follows in the whole sequence, -1 for none
  Tensor document_start;  // (T, B) int32 in tokens of the whole sequence, or empty
  Tensor counted;         // (T * B) uint8: 0 for padding; empty without padding
};

/// Cuts micro-batches and brings them to the device.
class BatchCutter {
 public:
  BatchCutter(const model::ModelAxes& axes, Stream& stream) : axes_(&axes), stream_(&stream) {}

  /// Valid until the next call for a micro-batch that is not held.
  [[nodiscard]] const LocalBatch& operator()(const data::MicroBatch& batch);
  /// Brings the micro-batches of a step to the device, those of the last step's shapes to the same places; until let_go
  /// they are found there by their index.
  void hold(std::span<const data::MicroBatch> batches);
  void let_go() { holds_ = false; }
  /// What the layers need to know of it. Valid as long as `batch`, and until `rope` makes another.
  [[nodiscard]] model::Sequence sequence(const LocalBatch& batch, model::RopeTables& rope) const;

 private:
  /// `local` becomes what this rank sees of `batch`, in the memory that it has where shapes are equal.
  void cut(const data::MicroBatch& batch, LocalBatch& local);

  const model::ModelAxes* axes_;
  Stream* stream_;
  std::map<std::int64_t, std::shared_ptr<const parallel::SequenceCut>> cuts_;  // by length
  LocalBatch loose_;
  std::map<int, LocalBatch> held_;  // by index
  bool holds_ = false;
};

/// Tokens that a sequence of T is padded to on these axes.
[[nodiscard]] std::int64_t padded_tokens(std::int64_t T, const model::ModelAxes& axes);

}  // namespace halo::train
