#pragma once
#include <string>

#include "launch/sweep/trial_table.h"

namespace halo::launch {

/// A trial's line is the stronger the better the trial is placed, and the best one's is another colour. Trials that failed
/// are dashed. The rows are ranked.

/// Each trial's curve by step; the vertical axis is logarithmic where values span more than a factor of 20. Empty without curves.
[[nodiscard]] std::string curves_svg(const TrialTable& table);

/// Parallel coordinates: an upright axis for each parameter and for the objective, a line for each trial. An axis is of numbers
/// where all texts are, logarithmic where they span more than a factor of 20, else it has the texts at even distances.
[[nodiscard]] std::string parallel_svg(const TrialTable& table);

}  // namespace halo::launch
