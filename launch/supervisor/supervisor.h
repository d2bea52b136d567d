#pragma once
#include <ostream>
#include <string>
#include <vector>

#include "launch/supervisor/supervision.h"

namespace halo::launch {

/// Runs `command` under supervision, start after start, until it has ended as it should or there is no hope, and returns
/// the exit code: 0 when the run is done or has stopped as asked. What happens is told on `out`, a line each. Blocks
/// SIGTERM, SIGINT, SIGUSR1 and SIGCHLD in this process, and takes them itself: call it before there are other threads.
[[nodiscard]] int supervise(const std::vector<std::string>& command,
                            const SupervisionLimits& limits, std::ostream& out);

}  // namespace halo::launch
