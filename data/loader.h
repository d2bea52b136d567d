#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "data/sampler.h"
#include "data/token_source.h"

namespace halo::data {

/// How a step's global batch is cut into micro-batches of data-parallel ranks. Slot j of the batch is lane b of rank r's
/// micro-batch i where j = (i * data_ranks + r) * micro_sequences + b; slots beyond the batch are empty.
struct BatchPlan {
  std::int64_t sequences = 1;        // in the global batch
  std::int64_t micro_sequences = 1;  // at most, a rank and micro-batch
  int data_rank = 0;
  int data_ranks = 1;
  std::int64_t length = 0;  // T, tokens a sequence

  /// Throws InputError for numbers below 1, Error for a rank that does not exist.
  void check() const;
  [[nodiscard]] int micro_batches() const;  // of a step, the same on every rank
  [[nodiscard]] std::int64_t first_slot(int micro_batch) const;
  /// Real sequences of this rank's micro-batch: 0 to micro_sequences.
  [[nodiscard]] std::int64_t lanes(int micro_batch) const;
};

/// One rank's share of a step that is computed at once.
struct MicroBatch {
  std::int64_t step = 0;
  int index = 0;                     // within the step
  std::int64_t T = 0;                // tokens a sequence
  std::int64_t B = 0;                // real sequences, 0 to micro_sequences
  std::vector<std::int32_t> tokens;  // (T, B), token t of sequence b at [t * B + b]
  /// (T, B): the t at which the token's document begins within its sequence. Empty unless document masks are asked for.
  std::vector<std::int32_t> document_start;
};

struct LoaderOptions {
  BatchPlan plan;
  std::int64_t first_sample =
      0;  // of step 0: slot j of step s is sample first_sample + s * sequences + j
  bool document_masks = false;
};

/// Reads the micro-batches of any step. Const methods may be called from several threads.
class BatchReader {
 public:
  /// `sources` are the sampler's, in its order. Throws InputError as BatchPlan::check does, and when the sampler cuts
  /// samples of another length than the plan's.
  BatchReader(std::vector<std::shared_ptr<const TokenSource>> sources, Sampler sampler,
              LoaderOptions options);

  /// This rank's micro-batches of step >= 0, plan.micro_batches() of them. Throws what TokenSource::read throws.
  [[nodiscard]] std::vector<MicroBatch> read_step(std::int64_t step) const;
  /// Whether a step reads a sample that an earlier sample of the sources was, on any rank.
  [[nodiscard]] bool repeats(std::int64_t step) const;

 private:
  [[nodiscard]] MicroBatch read(std::int64_t step, int index) const;
  void mark_documents(const TokenRange& range, std::int64_t lane, MicroBatch& batch) const;

  std::vector<std::shared_ptr<const TokenSource>> sources_;
  Sampler sampler_;
  LoaderOptions options_;
};

/// Reads ahead in a thread of its own. It issues no collective and touches no device. Used by one thread.
class Loader {
 public:
  /// Steps first_step, first_step + 1, ... up to, not including, end_step; `ahead` steps at most wait in memory.
  Loader(BatchReader reader, std::int64_t first_step, std::int64_t end_step, int ahead = 2);
  ~Loader();

  /// The next step's micro-batches, in order. Throws what reading it threw, at its turn and at every call after it, and
  /// Error past end_step.
  [[nodiscard]] std::vector<MicroBatch> next();
  /// Whether next() has given tokens for the second time, because the files hold fewer than the steps need.
  [[nodiscard]] bool repeated() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halo::data
