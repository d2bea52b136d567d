#include "launch/health/rank_status.h"

#include <unistd.h>

#include "core/base/clock.h"
#include "launch/health/address.h"

namespace halo::launch {
namespace {

constexpr std::size_t kLastCalls = 8;

}  // namespace

RankStatus::RankStatus(int rank, int size, const comm::FlightRecorder* recorder)
    : recorder_(recorder), phase_since_(steady_seconds()) {
  state_.set_rank(rank);
  state_.set_size(size);
  state_.set_host(own_host_name());
  state_.set_pid(::getpid());
  state_.set_phase("starting");
}

void RankStatus::on_point(const ProgressPoint& point) {
  const double now = steady_seconds();
  const std::lock_guard lock(mutex_);
  state_.set_points(state_.points() + 1);
  if (point.name == "collective") return;
  if (point.name == "checkpoint_saved" || point.name == "job_ended")
    state_.set_saved(state_.saved() + 1);
  if (point.name == "checkpoint_saved") return;  // of an earlier step, while training goes on
  if (!point.job.empty() && state_.job() != point.job) {
    state_.set_job(std::string(point.job));
    state_.clear_step();
    state_.clear_own_seconds();
  }
  if (point.step >= 0) state_.set_step(point.step);
  if (point.own_seconds >= 0) state_.set_own_seconds(point.own_seconds);
  if (state_.phase() == point.name) return;
  state_.mutable_phase()->assign(point.name);
  phase_since_ = now;
}

void RankStatus::describe_run(int ranks_multiple, const std::string& log_folder) {
  const std::lock_guard lock(mutex_);
  state_.set_ranks_multiple(ranks_multiple);
  state_.set_log_folder(log_folder);
}

void RankStatus::fail(const std::string& reason, bool peer_failed) {
  const std::lock_guard lock(mutex_);
  if (state_.has_failure()) return;
  state_.set_failure(reason.substr(0, 1000));
  state_.set_peer_failed(peer_failed);
}

proto::Heartbeat RankStatus::beat() const {
  proto::Heartbeat beat;
  {
    const std::lock_guard lock(mutex_);
    beat = state_;
    beat.set_phase_seconds(steady_seconds() - phase_since_);
  }
  if (recorder_ == nullptr) return beat;
  const comm::FlightRecorder::Now now = recorder_->now();
  beat.set_calls(now.begun);
  beat.set_waits_for(now.waits_for);
  beat.set_unfinished(now.unfinished);
  beat.set_last_calls(recorder_->text(kLastCalls));
  return beat;
}

}  // namespace halo::launch
