#pragma once
#include <memory>
#include <vector>

#include "data/loader.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {

/// The token batches of a training job on this rank: those of its steps in order, and its validation set.
class Batches {
 public:
  /// Starts at `first_step`. Throws InputError for token files that are damaged, too short or of a larger vocabulary than
  /// the model's.
  Batches(const JobContext& context, std::int64_t vocab_size, std::int64_t first_step);

  [[nodiscard]] std::vector<data::MicroBatch> next();
  [[nodiscard]] const std::vector<data::MicroBatch>& validation() const { return validation_; }

 private:
  std::unique_ptr<data::Loader> loader_;
  std::vector<data::MicroBatch> validation_;
  bool tell_repeats_ = false;  // when tokens are first read again
};

/// This rank's micro-batches of a training job's validation set; none where it has none. Throws as Batches does.
[[nodiscard]] std::vector<data::MicroBatch> validation_batches(const JobContext& context,
                                                               std::int64_t vocab_size);

/// What is read for evaluation: the first samples of token files.
struct HeldOut {
  std::vector<std::string> tokens;
  std::int64_t sequences = 0;
  std::int64_t length = 0;           // tokens of a sequence
  std::int64_t micro_sequences = 0;  // of a micro-batch, at most
  bool document_masks = false;
};
/// This rank's micro-batches of them. Throws InputError for token files that are damaged or too short.
[[nodiscard]] std::vector<data::MicroBatch> held_out_batches(const HeldOut& held_out,
                                                             const parallel::DeviceMesh& mesh);

/// Throws InputError, in the name of the first file, when files hold fewer sequences than are wanted.
void require_sequences(const std::string& file, std::int64_t held, std::int64_t length,
                       std::int64_t wanted);

/// Throws InputError when a token file's vocabulary is larger than the model's, which has no embedding for the rest.
/// After held_out_batches, which has checked the files.
void require_vocabulary(const std::vector<std::string>& tokens, std::int64_t vocab_size);

/// Of a training job, on this rank of a mesh.
[[nodiscard]] data::BatchPlan batch_plan(const proto::Train& train,
                                         const parallel::DeviceMesh& mesh);
/// The first `most` micro-batches of a step, or with 0 all, without tokens.
[[nodiscard]] std::vector<data::MicroBatch> empty_batches(const data::BatchPlan& plan,
                                                          int most = 0);

/// What a micro-batch holds at most, from the config: its own number, or up to 4 sequences.
[[nodiscard]] std::int64_t micro_sequences(const proto::Batch& batch, int data_ranks);

}  // namespace halo::launch
