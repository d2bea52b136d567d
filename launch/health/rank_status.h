#pragma once
#include <mutex>
#include <string>

#include "core/base/progress_point.h"
#include "launch/health/heartbeat.pb.h"
#include "parallel/comm/flight_recorder.h"

namespace halo::launch {

/// Where this rank is: the training thread passes points, other threads ask. A point costs a lock that nobody holds for
/// longer than a copy of some texts takes. Thread-safe.
class RankStatus final : public ProgressListener {
 public:
  /// `recorder`, of the rank's calls, may be null; it must outlive this.
  RankStatus(int rank, int size, const comm::FlightRecorder* recorder);

  /// Points named "collective" change no phase; "checkpoint_saved" and "job_ended" count as progress that stays.
  void on_point(const ProgressPoint& point) override;
  /// What the run's config says of all of it.
  void describe_run(int ranks_multiple, const std::string& log_folder);
  /// The process is about to end for this reason.
  void fail(const std::string& reason, bool peer_failed);

  /// As of now.
  [[nodiscard]] proto::Heartbeat beat() const;

 private:
  const comm::FlightRecorder* recorder_;
  mutable std::mutex mutex_;
  proto::Heartbeat state_;
  double phase_since_;
};

}  // namespace halo::launch
