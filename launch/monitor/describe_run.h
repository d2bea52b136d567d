#pragma once
#include <string>

#include "launch/config.h"
#include "launch/monitor/run_status.h"

namespace halo::launch {

/// What is known of a run before its first job begins: all jobs wait. `now` is steady_seconds().
[[nodiscard]] RunStatus describe_run(const Config& resolved, int ranks, const std::string& version,
                                     double now);

}  // namespace halo::launch
