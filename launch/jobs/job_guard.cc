#include "launch/jobs/job_guard.h"

#include <glog/logging.h>

namespace halo::launch {
namespace {

constexpr const char* kNote = "guard";  // of a checkpoint

train::GuardOptions guard_options(const proto::Guard& guard) {
  train::GuardOptions options;
  options.skip_nonfinite = guard.skip_nonfinite();
  options.spike_factor = guard.spike_factor();
  options.spike_window = guard.spike_window();
  options.rollback_after = guard.rollback_after();
  options.max_rollbacks = guard.max_rollbacks();
  return options;
}

train::GuardState stored_state(const checkpoints::CheckpointReader* from) {
  train::GuardState state;
  if (from == nullptr) return state;
  const auto& notes = from->info().notes;
  const auto note = notes.find(kNote);
  if (note != notes.end())
    state = train::parse_guard_state(note->second, str(from->folder().string(), ": note guard"));
  state.skipped = from->info().skipped;
  return state;
}

}  // namespace

JobGuard::JobGuard(const JobContext& context)
    : context_(context), guard_(guard_options(context.job.train().guard())) {}

train::GuardedStep JobGuard::step(train::Trainer& trainer, std::int64_t step,
                                  std::span<const train::MicroBatch> batches) {
  const auto warn = [&](const std::string& message) {
    LOG_IF(WARNING, context_.is_first_rank()) << "job " << context_.job.name() << ": " << message;
  };
  const train::GuardedStep done =
      train::guarded_step(trainer, guard_, step, batches, context_.stop_requested(), warn);
  rolls_back_ = done.verdict == train::Verdict::kRollBack;
  return done;
}

std::int64_t JobGuard::newest_step() const {
  return rolls_back_ ? guard_.rollback().newest : checkpoints::kAnyStep;
}

/// The first weights stand for a checkpoint of step 0 as long as none that was newer is missed. Rank 0 looks.
void JobGuard::require_no_checkpoints() const {
  const std::filesystem::path root = context_.folder().checkpoints();
  std::int32_t has_some = checkpoints::holds_checkpoint(root) ? 1 : 0;
  context_.world().broadcast(view(&has_some, {1}), 0).wait();
  HALO_REQUIRE(has_some == 0,
               str("job ", context_.job.name(), ": steps up to ", guard_.rollback().next - 1,
                   " are not finite or spikes of the loss, and ", root.string(),
                   " holds no checkpoint of step ", newest_step(),
                   " or before to go back to. Raise train.checkpoint.keep_last, lower "
                   "train.optimizer.lr or look at the data, and begin the job anew"));
}

JobGuard::Begin JobGuard::begin(const checkpoints::CheckpointReader* from) {
  const std::int64_t done = from == nullptr ? 0 : from->info().step;
  if (!rolls_back_) {
    guard_.restore(stored_state(from));
    return {done, done};
  }
  // The first weights were there until the trouble began, unless an earlier rollback went to a checkpoint: those that are there
  // now were saved in it.
  if (from == nullptr && guard_.state().rolled_back_to > 0) require_no_checkpoints();
  rolls_back_ = false;
  guard_.roll_back(stored_state(from), done);
  return {done, guard_.rollback().next};
}

void JobGuard::store(checkpoints::CheckpointInfo& info) const {
  info.skipped = guard_.state().skipped;
  train::GuardState rest = guard_.state();
  rest.skipped.clear();
  if (rest != train::GuardState{}) info.notes[kNote] = to_json(rest);
}

}  // namespace halo::launch
