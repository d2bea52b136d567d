#include "launch/monitor/status_board.h"

#include <algorithm>

namespace halo::launch {

MonitoredJob* StatusBoard::find(const std::string& job) {
  const auto found = std::ranges::find(status_.jobs, job, &MonitoredJob::name);
  return found == status_.jobs.end() ? nullptr : &*found;
}

void StatusBoard::job_state(const std::string& job, MonitoredState state, double now,
                            const std::string& reason) {
  const std::lock_guard lock(mutex_);
  MonitoredJob* known = find(job);
  if (known == nullptr) return;
  known->state = state;
  known->reason = reason;
  known->changed = now;
}

void StatusBoard::job_ranks(const std::string& job, int ranks) {
  const std::lock_guard lock(mutex_);
  if (MonitoredJob* known = find(job)) known->ranks = ranks;
}

void StatusBoard::step_ended(const std::string& job, const StepMetrics& metrics, double now) {
  const std::lock_guard lock(mutex_);
  MonitoredJob* known = find(job);
  if (known == nullptr) return;
  known->progress.add(metrics);
  known->changed = now;
}

MonitoredRank& StatusBoard::rank_of(int rank) {
  auto at = std::ranges::lower_bound(status_.heard, rank, {}, &MonitoredRank::rank);
  if (at == status_.heard.end() || at->rank != rank) {
    at = status_.heard.emplace(at);
    at->rank = rank;
  }
  return *at;
}

void StatusBoard::heard(const MonitoredRank& rank) {
  const std::lock_guard lock(mutex_);
  rank_of(rank.rank) = rank;
}

void StatusBoard::at_work(int rank, const std::string& job, std::int64_t step, const char* phase,
                          double now) {
  const std::lock_guard lock(mutex_);
  MonitoredRank& known = rank_of(rank);
  known.job = job;
  known.step = step;
  known.phase = phase;
  known.heard = now;
}

void StatusBoard::ended(double now) {
  const std::lock_guard lock(mutex_);
  status_.ended = true;
  for (MonitoredJob& job : status_.jobs) {
    if (job.state != MonitoredState::kRunning) continue;
    job.state = MonitoredState::kStopped;
    job.changed = now;
  }
}

RunStatus StatusBoard::read() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace halo::launch
