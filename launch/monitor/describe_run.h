#pragma once
#include <string>

#include "launch/config.h"
#include "launch/monitor/run_status.h"

namespace halo::launch {

/// What is known of a run before its first job begins: all jobs wait. `now` is steady_seconds().
[[nodiscard]] RunStatus describe_run(const Config& resolved, int ranks, const std::string& version,
                                     double now);
/// What this process can tell of itself.
[[nodiscard]] MonitoredRank describe_rank(int rank);

}  // namespace halo::launch
