#pragma once
#include "launch/config.h"
#include "launch/report.h"

namespace halo::launch {

/// What the jobs of a run have left in its folder, as far as they have ended: courses of training jobs, importances of
/// select jobs, scores of evaluate jobs. Throws InputError for a damaged file.
[[nodiscard]] Report collect_report(const Config& config, int ranks);

}  // namespace halo::launch
