#include "core/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace halo::train {

double lr_at(std::int64_t step, const LrSchedule& s) {
  if (step < s.warmup_steps) {
    return s.lr * static_cast<double>(step) /
           static_cast<double>(std::max<std::int64_t>(1, s.warmup_steps));
  }
  if (s.kind == LrSchedule::Kind::kConstant) return s.lr;
  const auto decay_steps =
      static_cast<double>(std::max<std::int64_t>(1, s.total_steps - s.warmup_steps));
  const double done = std::min(1.0, static_cast<double>(step - s.warmup_steps) / decay_steps);
  const double f = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return s.min_lr + (s.lr - s.min_lr) * f;
}

}  // namespace halo::train
