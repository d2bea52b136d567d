#pragma once
#include <functional>
#include <string>

#include "core/train/step_guard.h"
#include "core/train/trainer.h"

namespace halo::train {

/// The guard says that the job cannot go on; on all ranks alike.
class GuardFailed : public Error {
 public:
  using Error::Error;
};

struct GuardedStep {
  StepStats stats;  // of the last try
  Verdict verdict =
      Verdict::kAccept;  // kAccept: the weights are updated; kSkip, kRollBack: they are unchanged
};

/// One step of a trainer as its guard decides, on the same micro-batches for each try. Collective: all ranks are told the
/// same numbers and decide the same. `warn` is called on every rank with what is wrong, which names the ranks whose part of
/// the loss or of the gradients is not finite. Throws GuardFailed with the guard's
/// reason where it says kFail.
[[nodiscard]] GuardedStep guarded_step(Trainer& trainer, StepGuard& guard, std::int64_t step,
                                       std::span<const MicroBatch> batches, bool stop,
                                       const std::function<void(const std::string&)>& warn);

}  // namespace halo::train
