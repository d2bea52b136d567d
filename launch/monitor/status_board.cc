#include "launch/monitor/status_board.h"

#include <algorithm>

namespace halo::launch {
namespace {

constexpr double kLookEvery = 0.5;  // seconds: a rank's beats come every second

}  // namespace

MonitoredJob* StatusBoard::find(const std::string& job) {
  const auto found = std::ranges::find(status_.jobs, job, &MonitoredJob::name);
  return found == status_.jobs.end() ? nullptr : &*found;
}

void StatusBoard::job_state(const std::string& job, JobState state, double now,
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

void StatusBoard::beat(const proto::Heartbeat& beat, double at, double gone_at) {
  const std::lock_guard lock(mutex_);
  const auto before = ranks_.ranks().find(beat.rank());
  const bool new_step = before == ranks_.ranks().end() || before->second.beat.step() != beat.step();
  ranks_.keep(beat, at, gone_at);
  MonitoredJob* const job = new_step ? find(beat.job()) : nullptr;
  if (job != nullptr && job->state == JobState::kRunning) job->changed = at;
  if (at - looked_ < kLookEvery) return;
  looked_ = at;
  slow_ranks_.look(ranks_);
}

void StatusBoard::ended(double now) {
  const std::lock_guard lock(mutex_);
  status_.ended = true;
  for (MonitoredJob& job : status_.jobs)
    if (job.state == JobState::kRunning) job.changed = now;
}

RunStatus StatusBoard::read() const {
  const std::lock_guard lock(mutex_);
  RunStatus status = status_;
  for (const auto& [number, rank] : ranks_.ranks()) {
    const auto slow = slow_ranks_.slow().find(number);
    const double slower = slow == slow_ranks_.slow().end() ? 0 : slow->second;
    status.heard.push_back({rank.beat, rank.at, rank.progress_at, rank.gone_at, slower});
  }
  return status;
}

}  // namespace halo::launch
