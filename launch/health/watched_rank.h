#pragma once
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "launch/health/heartbeat_client.h"
#include "launch/health/rank_status.h"

namespace halo::launch {

struct WatchedRankOptions {
  int rank = 0;
  int size = 1;
  const comm::FlightRecorder* recorder = nullptr;
  /// Writes the rank's last calls where people find them: called by another thread, when the supervisor asks by SIGUSR2
  /// and when the process crashes.
  std::function<void()> keep_calls;
  /// Is told of each point as well, after the status; by any thread.
  std::function<void(const ProgressPoint&)> then;
};

/// This process as one rank of a run: while it lives it listens to progress points, tells the supervisor and the monitor, if
/// there are any, and catches SIGUSR2 and, supervised, what a crash raises. One a process, made and ended by the training thread, whose points
/// alone are the rank's status.
class WatchedRank final : public ProgressListener {
 public:
  explicit WatchedRank(WatchedRankOptions options);
  WatchedRank(const WatchedRank&) = delete;
  WatchedRank& operator=(const WatchedRank&) = delete;
  ~WatchedRank() override;

  void on_point(const ProgressPoint& point) override;
  [[nodiscard]] RankStatus& status() { return status_; }
  /// From now on heartbeats go to the run's monitor as well.
  void tell_monitor(const std::vector<Address>& server, const std::string& secret);
  /// Tells who listens now, and does not wait for the next beat's time.
  void tell_now();
  /// The process is about to end for this reason: who listens is told at once.
  void fail(const std::string& reason, bool peer_failed);

 private:
  [[nodiscard]] proto::Heartbeat beat() const;

  WatchedRankOptions options_;
  std::thread::id training_thread_ = std::this_thread::get_id();
  RankStatus status_;
  std::unique_ptr<HeartbeatClient> supervisor_, monitor_;
};

}  // namespace halo::launch
