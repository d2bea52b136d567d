#pragma once
#include <mutex>
#include <string>

#include "launch/monitor/run_status.h"

namespace halo::launch {

/// What the threads of a run tell and the monitor's thread reads. Telling is cheap: a lock that is held for a copy, no
/// file and no message. Names of unknown jobs are passed over: a monitor ends no run. `now` is steady_seconds().
class StatusBoard {
 public:
  explicit StatusBoard(RunStatus first) : status_(std::move(first)) {}

  /// A job has come to a state; `reason` says why it failed or was skipped.
  void job_state(const std::string& job, MonitoredState state, double now,
                 const std::string& reason = "");
  /// How many ranks work on a job.
  void job_ranks(const std::string& job, int ranks);
  /// A step of a job has ended and stands in its metrics.jsonl.
  void step_ended(const std::string& job, const StepMetrics& metrics, double now);
  /// A rank lives: replaces what was known of it. The ranks' heartbeats come here; rank 0 tells of itself.
  void heard(const MonitoredRank& rank);
  /// What a rank does now; of a rank that is not known its host and process stay empty.
  void at_work(int rank, const std::string& job, std::int64_t step, const char* phase, double now);
  /// The run ends: jobs that are running have stopped.
  void ended(double now);

  [[nodiscard]] RunStatus read() const;

 private:
  [[nodiscard]] MonitoredJob* find(const std::string& job);
  [[nodiscard]] MonitoredRank& rank_of(int rank);

  mutable std::mutex mutex_;
  RunStatus status_;
};

}  // namespace halo::launch
