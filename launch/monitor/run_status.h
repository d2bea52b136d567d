#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/health/heartbeat.pb.h"
#include "launch/metrics.h"
#include "launch/scheduler/job_table.h"

namespace halo::launch {

/// How far a training job has come, from its steps in order.
struct JobProgress {
  std::optional<StepMetrics> last;  // the newest step, as in metrics.jsonl
  std::optional<StepMetrics> last_validation;
  double step_seconds = 0;  // a usual step's: a mean that forgets, without those that were left out

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
  JobState state = JobState::kWaiting;
  std::string reason;      // why it failed or was skipped
  int ranks = 0;           // 0: not known yet
  std::int64_t steps = 0;  // of a training job; 0: a job without steps
  std::string metrics;     // path of its metrics.jsonl; empty: it has none
  JobProgress progress;
  double changed = 0;  // when its state last changed or one of its ranks began a step
};

enum class RankState : std::uint8_t {
  kWell,
  kSlow,    // steadily slower than the others of its job
  kSilent,  // no beat for kSilentAfter seconds: stopped, or its host cut off
  kGone,    // its connection was lost and did not come back
  kFailed,  // it has said why, and ends
  kEnded,
};
inline constexpr RankState kRankStates[] = {RankState::kWell,   RankState::kSlow,
                                            RankState::kSilent, RankState::kGone,
                                            RankState::kFailed, RankState::kEnded};
inline constexpr double kSilentAfter = 5;  // beats come every second
/// "well", "slow", "silent", "gone", "failed", "ended".
[[nodiscard]] const char* to_string(RankState state);

/// What was last heard of one rank. Times are those of steady_seconds().
struct MonitoredRank {
  proto::Heartbeat beat;  // the last
  double heard = 0;       // when that came
  double got_on = 0;      // when a beat last told of something new
  double gone = 0;        // when its connection was lost; 0: it was not
  double slower = 0;      // steadily, as many times as its job's median rank; 0: it is not
};
[[nodiscard]] RankState state_of(const MonitoredRank& rank, double now);
/// Why a rank is not well, in one line; empty for one that is, or has ended.
[[nodiscard]] std::string reason_of(const MonitoredRank& rank, double now);

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
  std::vector<MonitoredRank> heard;  // by rank; those that have sent a beat

  [[nodiscard]] const MonitoredJob* find(const std::string& job) const;
};

/// The names of what state_of(status, job) may be.
inline constexpr const char* kJobStates[] = {"waiting", "running", "done",
                                             "stopped", "failed",  "skipped"};
/// A job's state; "stopped" for one that was running when the run ended.
[[nodiscard]] std::string state_of(const RunStatus& status, const MonitoredJob& job);

struct Health {
  bool ok = true;
  std::string reason;  // one line; why it is not ok
};
/// Not ok once a job has failed, while a rank has sent no beat for half a minute, or while a running training job has ended no
/// step for ten minutes and for twenty of its usual steps, whichever is longer. Start-up counts from the job's begin; jobs
/// without steps are not judged.
[[nodiscard]] Health health_of(const RunStatus& status, double now);

}  // namespace halo::launch
