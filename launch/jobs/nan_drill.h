#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "core/train/optimizer.h"

namespace halo::launch {

/// Numbers that are not finite on demand: HALO_DRILL_NAN="RANK:STEP" in the environment makes a gradient that the rank owns
/// NaN in the first try of that step of every training job, "RANK:STEP:STEPS" in every try of so many steps from it on.
struct NanDrill {
  int rank = 0;
  std::int64_t step = 0;
  std::int64_t steps = 0;  // 0: the first try of one step

  /// Throws InputError for another text.
  [[nodiscard]] static NanDrill parse(const std::string& text);
  /// None when the variable is not set.
  [[nodiscard]] static std::optional<NanDrill> from_environment(int ranks);
  /// After the gradients of a try were reduced.
  void spoil(int own_rank, std::int64_t own_step, const train::ShardedAdamW& optimizer,
             Stream& stream);

 private:
  std::int64_t last_step_ = -1;  // of the last try
};

}  // namespace halo::launch
