#pragma once
#include <mutex>
#include <string>

#include "launch/health/rank_table.h"
#include "launch/health/slow_ranks.h"
#include "launch/monitor/run_status.h"

namespace halo::launch {

/// What the threads of a run tell and the monitor's thread reads. Telling is cheap: a lock that is held for a copy, no
/// file and no message. Names of unknown jobs are passed over: a monitor ends no run. `now` is steady_seconds().
class StatusBoard {
 public:
  explicit StatusBoard(RunStatus first) : status_(std::move(first)) {}

  /// A job has come to a state; `reason` says why it failed or was skipped.
  void job_state(const std::string& job, JobState state, double now,
                 const std::string& reason = "");
  /// How many ranks work on a job.
  void job_ranks(const std::string& job, int ranks);
  /// A rank's heartbeat, which came then; `gone_at` is when its connection was lost, 0 when it was not.
  void beat(const proto::Heartbeat& beat, double at, double gone_at = 0);
  /// The run ends: what runs has stopped.
  void ended(double now);

  /// Without the jobs' steps, which are in their files.
  [[nodiscard]] RunStatus read() const;

 private:
  [[nodiscard]] MonitoredJob* find(const std::string& job);

  mutable std::mutex mutex_;
  RunStatus status_;
  RankTable ranks_;
  SlowRanks slow_ranks_;
  double looked_ = 0;  // for slow ranks
};

}  // namespace halo::launch
