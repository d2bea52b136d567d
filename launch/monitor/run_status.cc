#include "launch/monitor/run_status.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {

namespace {

constexpr double kPatience = 600;        // seconds without a step
constexpr double kPatienceInSteps = 20;  // of usual length
constexpr double kSmoothing = 0.05;      // weight of the newest step's time

}  // namespace

const char* to_string(MonitoredState state) {
  switch (state) {
    case MonitoredState::kWaiting:
      return "waiting";
    case MonitoredState::kRunning:
      return "running";
    case MonitoredState::kDone:
      return "done";
    case MonitoredState::kStopped:
      return "stopped";
    case MonitoredState::kFailed:
      return "failed";
    case MonitoredState::kSkipped:
      return "skipped";
  }
  throw Error(str("no such state of a job: ", static_cast<int>(state)));
}

void JobProgress::add(const StepMetrics& metrics) {
  step_seconds += weight_ * (metrics.step_ms / 1000 - step_seconds);
  weight_ = std::max(kSmoothing, weight_ / (1 + weight_));  // the first values as a plain mean
  last = metrics;
  if (metrics.validation_loss) last_validation = metrics;
}

std::optional<double> JobProgress::seconds_left(std::int64_t steps) const {
  if (!last) return std::nullopt;
  return step_seconds * static_cast<double>(std::max<std::int64_t>(steps - step(), 0));
}

const MonitoredJob* RunStatus::find(const std::string& job) const {
  const auto found = std::ranges::find(jobs, job, &MonitoredJob::name);
  return found == jobs.end() ? nullptr : &*found;
}

Health health_of(const RunStatus& status, double now) {
  for (const MonitoredJob& job : status.jobs) {
    if (job.state == MonitoredState::kFailed)
      return {false, str("job ", job.name, " failed: ", job.reason)};
    if (job.state != MonitoredState::kRunning || job.steps == 0) continue;
    const double silent = now - job.changed;
    if (silent <= std::max(kPatience, kPatienceInSteps * job.progress.step_seconds)) continue;
    return {false, str("job ", job.name, " has ended no step for ", human_seconds(silent), ", ",
                       job.progress.step(), " of ", job.steps, " are done")};
  }
  return {};
}

}  // namespace halo::launch
