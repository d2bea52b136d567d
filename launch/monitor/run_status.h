#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/metrics.h"

namespace halo::launch {

enum class MonitoredState : std::uint8_t { kWaiting, kRunning, kDone, kStopped, kFailed, kSkipped };
inline constexpr MonitoredState kMonitoredStates[] = {
    MonitoredState::kWaiting, MonitoredState::kRunning, MonitoredState::kDone,
    MonitoredState::kStopped, MonitoredState::kFailed,  MonitoredState::kSkipped};
/// "waiting", "running", "done", "stopped", "failed", "skipped".
[[nodiscard]] const char* to_string(MonitoredState state);

/// How far a training job has come, from its steps in order.
struct JobProgress {
  std::optional<StepMetrics> last;  // the newest step, as in metrics.jsonl
  std::optional<StepMetrics> last_validation;
  double step_seconds = 0;  // a usual step's: a mean that forgets

  void add(const StepMetrics& metrics);
  /// Steps that are done.
  [[nodiscard]] std::int64_t step() const { return last ? last->step + 1 : 0; }
  /// At the pace of the last steps, without validation and checkpoints; nothing before the first step.
  [[nodiscard]] std::optional<double> seconds_left(std::int64_t steps) const;

 private:
  double weight_ = 1;  // of the next step in step_seconds
};

/// What is known of one job. Times are those of steady_seconds().
struct MonitoredJob {
  std::string name;
  std::string kind;  // "align", "distill", "select", "export", ...
  MonitoredState state = MonitoredState::kWaiting;
  std::string reason;      // why it failed or was skipped
  int ranks = 0;           // 0: not known yet
  std::int64_t steps = 0;  // of a training job; 0: a job without steps
  std::string metrics;     // path of its metrics.jsonl; empty: it has none
  JobProgress progress;
  double changed = 0;  // when its state last changed or a step ended
};

/// What was last heard of one rank.
struct MonitoredRank {
  int rank = 0;
  std::string host;
  int pid = 0;
  std::string job;         // empty: between jobs
  std::int64_t step = -1;  // that it works on, from 0; -1: none
  std::string phase;       // "starting", "step", "validation", "checkpoint", "waiting"
  double heard = 0;        // steady_seconds()
};

/// All that the monitor shows of a run.
struct RunStatus {
  std::string name;    // of the output folder
  std::string output;  // folder, as the config has it
  std::string version;
  int ranks = 1;
  double begun = 0;                  // steady_seconds()
  double begun_at = 0;               // seconds since 1970
  bool ended = false;                // no job will go on in this process
  std::vector<MonitoredJob> jobs;    // in the order in which they run
  std::vector<MonitoredRank> heard;  // by rank; those that have told something

  [[nodiscard]] const MonitoredJob* find(const std::string& job) const;
};

struct Health {
  bool ok = true;
  std::string reason;  // one line; why it is not ok
};
/// Not ok once a job has failed, or while a running training job has ended no step for ten minutes and for twenty of its
/// usual steps, whichever is longer. Start-up counts from the job's begin; jobs without steps are not judged.
[[nodiscard]] Health health_of(const RunStatus& status, double now);

}  // namespace halo::launch
