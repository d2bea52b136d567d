#include "launch/monitor/run_status.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {

namespace {

constexpr double kPatience = 600;        // seconds without a step
constexpr double kPatienceInSteps = 20;  // of usual length
constexpr double kQuietTooLong = 30;     // seconds without a beat
constexpr double kSmoothing = 0.05;      // weight of the newest step's time

}  // namespace

const char* to_string(RankState state) {
  switch (state) {
    case RankState::kWell:
      return "well";
    case RankState::kSlow:
      return "slow";
    case RankState::kSilent:
      return "silent";
    case RankState::kGone:
      return "gone";
    case RankState::kFailed:
      return "failed";
    case RankState::kEnded:
      return "ended";
  }
  throw Error(str("no such state of a rank: ", static_cast<int>(state)));
}

RankState state_of(const MonitoredRank& rank, double now) {
  if (!rank.beat.failure().empty()) return RankState::kFailed;
  if (rank.beat.phase() == "ended") return RankState::kEnded;
  if (rank.gone > 0) return RankState::kGone;
  if (now - rank.heard > kSilentAfter) return RankState::kSilent;
  return rank.slower > 0 ? RankState::kSlow : RankState::kWell;
}

std::string reason_of(const MonitoredRank& rank, double now) {
  switch (state_of(rank, now)) {
    case RankState::kWell:
    case RankState::kEnded:
      return "";
    case RankState::kSlow:
      return str("its own work takes ", formatted("%.3g s a step, ", rank.beat.own_seconds()),
                 formatted("%.1f times the median of its job's ranks", rank.slower));
    case RankState::kSilent:
      return str("no heartbeat for ", human_seconds(now - rank.heard));
    case RankState::kGone:
      return str("gone without a word, ", human_seconds(now - rank.gone), " ago");
    case RankState::kFailed:
      return rank.beat.failure();
  }
  throw Error("no such state of a rank");
}

std::string state_of(const RunStatus& status, const MonitoredJob& job) {
  return status.ended && job.state == JobState::kRunning ? "stopped" : to_string(job.state);
}

void JobProgress::add(const StepMetrics& metrics) {
  if (!is_left_out(metrics)) {
    step_seconds += weight_ * (metrics.step_ms / 1000 - step_seconds);
    weight_ = std::max(kSmoothing, weight_ / (1 + weight_));  // the first values as a plain mean
  }
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
  for (const MonitoredJob& job : status.jobs)
    if (job.state == JobState::kFailed)
      return {false, str("job ", job.name, " failed: ", job.reason)};
  if (status.ended) return {};
  for (const MonitoredRank& rank : status.heard) {
    const RankState state = state_of(rank, now);
    const bool quiet = state == RankState::kSilent || state == RankState::kGone;
    if (quiet && now - rank.heard > kQuietTooLong)
      return {false,
              str("rank ", rank.beat.rank(), " (host ", rank.beat.host(), ", pid ", rank.beat.pid(),
                  ") has sent no heartbeat for ", human_seconds(now - rank.heard))};
  }
  for (const MonitoredJob& job : status.jobs) {
    if (job.state != JobState::kRunning || job.steps == 0) continue;
    const double silent = now - job.changed;
    if (silent <= std::max(kPatience, kPatienceInSteps * job.progress.step_seconds)) continue;
    return {false, str("job ", job.name, " has ended no step for ", human_seconds(silent), ", ",
                       job.progress.step(), " of ", job.steps, " are done")};
  }
  return {};
}

}  // namespace halo::launch
