#pragma once
#include <cstdint>

namespace halo::train {

struct LrSchedule {
  enum class Kind : std::uint8_t { kCosine, kConstant };
  Kind kind = Kind::kCosine;
  double lr = 1e-4;      // peak rate
  double min_lr = 1e-5;  // rate at total_steps and after; unused by kConstant
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 1;
};
/// Rate of the 0-based optimizer step `step`: linear warmup from 0, then cosine to min_lr, or constant.
/// Source: oracle `lr_at`.
[[nodiscard]] double lr_at(std::int64_t step, const LrSchedule& schedule);

/// What a stage asks of a step: whether there is a teacher whose pass comes first, and a separate backward pass.
struct StageActions {
  bool teacher_forward = false;
  bool backward = true;
};
}  // namespace halo::train
