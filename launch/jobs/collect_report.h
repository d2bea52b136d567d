#pragma once
#include "launch/config.h"
#include "launch/report.h"

namespace halo::launch {

/// What the jobs of a run have left in its folder, as far as they have ended: courses of training jobs, importances of
/// select jobs, scores of evaluate jobs. Of a sweep
/// its trials, and of its jobs those that all trials share and the best one's. Throws InputError for a damaged file.
[[nodiscard]] Report collect_report(const Config& config, int ranks);

}  // namespace halo::launch
