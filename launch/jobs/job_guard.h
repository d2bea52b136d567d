#pragma once
#include <optional>

#include "checkpoints/checkpoint_reader.h"
#include "core/train/guarded_step.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {

/// What a training job does about steps that are not finite and spikes of the loss. It outlives a rollback, in which all
/// else of the job is made anew as after a start of the program: the models' files are read again, the teacher's too.
class JobGuard {
 public:
  explicit JobGuard(const JobContext& context);

  /// One step; collective. A verdict kRollBack asks to make the job anew. Says on rank 0 what is wrong. Throws Error when
  /// the job cannot go on.
  [[nodiscard]] train::GuardedStep step(train::Trainer& trainer, std::int64_t step,
                                        std::span<const train::MicroBatch> batches);

  /// The newest checkpoint to begin with: any, in a rollback one from before the trouble.
  [[nodiscard]] std::int64_t newest_step() const;
  struct Begin {
    std::int64_t done = 0;   // steps that the weights come from
    std::int64_t first = 0;  // the step to go on with; after `done` in a rollback
  };
  /// Takes over what the newest of those checkpoints knows, null for the first weights; ends a rollback. Collective. Throws
  /// Error when a rollback finds checkpoints but none that is old enough.
  Begin begin(const checkpoints::CheckpointReader* from);

  /// For a checkpoint.
  void store(checkpoints::CheckpointInfo& info) const;
  /// A rollback may want an old checkpoint.
  [[nodiscard]] bool in_trouble() const { return guard_.in_trouble(); }
  [[nodiscard]] const train::GuardState& state() const { return guard_.state(); }

 private:
  void require_no_checkpoints() const;

  const JobContext& context_;
  train::StepGuard guard_;
  bool rolls_back_ = false;  // begin() is to end a rollback
};

}  // namespace halo::launch
