#include "core/train/guarded_step.h"

#include <cmath>

namespace halo::train {
namespace {

std::string of_ranks(const std::vector<std::size_t>& ranks) {
  std::string text = str(ranks.size() > 1 ? " of ranks " : " of rank ", ranks.front());
  for (std::size_t i = 1; i < ranks.size(); ++i)
    text += str(i + 1 == ranks.size() ? " and " : ", ", ranks[i]);
  return text;
}

/// "the loss of rank 1", "12 gradients of ranks 0 and 3"; empty where every rank's part is finite.
std::string culprits(const std::vector<RankPart>& parts) {
  std::vector<std::size_t> losses, gradients;
  std::int64_t count = 0;
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    if (!std::isfinite(parts[rank].loss_sum)) losses.push_back(rank);
    if (parts[rank].nonfinite_gradients > 0) gradients.push_back(rank);
    count += parts[rank].nonfinite_gradients;
  }
  // Gradients are summed over the ranks by now: they name who owns them, a loss names who has computed it.
  if (!losses.empty()) return "the loss" + of_ranks(losses);
  return gradients.empty()
             ? std::string()
             : str(count, count == 1 ? " gradient" : " gradients", of_ranks(gradients));
}

std::string describe(std::int64_t step, const StepStats& stats,
                     const std::vector<RankPart>& parts) {
  const std::string who = culprits(parts);
  return str("step ", step, ": loss ", stats.loss, ", gradient norm ", stats.grad_norm,
             who.empty() ? std::string() : str(" (not finite: ", who, ')'));
}

}  // namespace

GuardedStep guarded_step(Trainer& trainer, StepGuard& guard, std::int64_t step,
                         std::span<const MicroBatch> batches, bool stop,
                         const std::function<void(const std::string&)>& warn) {
  GuardedStep result;
  bool again = false;
  for (;; again = true) {
    result.stats = trainer.compute(step, batches, stop);
    result.verdict = guard.judge(step, result.stats.loss, result.stats.grad_norm);
    if (result.verdict == Verdict::kAccept) break;
    const std::string what = describe(step, result.stats, trainer.rank_parts());
    if (result.verdict == Verdict::kFail) throw GuardFailed(str(guard.reason(), ". Last ", what));
    if (result.verdict == Verdict::kSkip)
      warn(str(what, ", computed twice: the step is skipped, ", guard.state().streak, " in a row"));
    if (result.verdict == Verdict::kRollBack)
      warn(str(what, ", computed twice, ", guard.state().streak,
               " steps in a row: the job goes back to earlier weights and on with step ",
               guard.rollback().next));
    if (result.verdict != Verdict::kComputeAgain) return result;
    warn(str(what, ": the step is computed once more"));
  }
  if (again)
    warn(str("step ", step, ": computed once more, the loss is ", result.stats.loss,
             " and the gradient norm ", result.stats.grad_norm, ": a passing fault"));
  trainer.update(result.stats);
  return result;
}

}  // namespace halo::train
