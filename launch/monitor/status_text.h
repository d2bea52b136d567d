#pragma once
#include <string>

#include "launch/monitor/metrics_tail.h"
#include "launch/monitor/run_status.h"

namespace halo::launch {

/// /api/status: {"run": {...}, "health": {...}, "jobs": [...], "ranks": [...]}. A job's "last" is the object that stands
/// in its metrics.jsonl. Ages are seconds before `now`, which is steady_seconds().
[[nodiscard]] std::string status_json(const RunStatus& status, double now);

/// /api/metrics: {"job", "steps", "complete", "columns": [...], "points": [[...]], "validation": [[step, loss]]}: at most
/// `points` of each, the first and the newest among them. What is not finite is null. `complete`: nothing more was there to read.
[[nodiscard]] std::string curve_json(const std::string& job, const MetricsTail& tail,
                                     std::size_t points, bool complete);

/// /metrics: the text exposition format of Prometheus, version 0.0.4.
[[nodiscard]] std::string prometheus_text(const RunStatus& status, double now);

}  // namespace halo::launch
