#pragma once
#include <string>

#include "launch/health/heartbeat.pb.h"

namespace halo::launch {

/// A beat of a rank of four, in the middle of training.
inline proto::Heartbeat beat_of(int rank, std::int64_t step, std::int64_t points,
                                const std::string& waits_for = "") {
  proto::Heartbeat beat;
  beat.set_rank(rank);
  beat.set_size(4);
  beat.set_host("n" + std::to_string(rank / 2));
  beat.set_pid(1000 + rank);
  beat.set_job("align");
  beat.set_step(step);
  beat.set_phase("forward");
  beat.set_points(points);
  beat.set_waits_for(waits_for);
  return beat;
}

}  // namespace halo::launch
