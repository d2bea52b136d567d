#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "launch/health/heartbeat.pb.h"

namespace halo::launch {

/// What is known of the ranks of one start of a run. Times are seconds of one clock, given by the caller.
class RankTable {
 public:
  struct Rank {
    proto::Heartbeat beat;
    double at = 0;           // when its last beat came
    double progress_at = 0;  // when a beat last said something new
    double gone_at = 0;      // when its connection was lost; 0: it was not
    [[nodiscard]] bool has_ended() const { return beat.phase() == "ended"; }
    /// Has no job.
    [[nodiscard]] bool is_idle() const { return beat.phase() == "idle"; }
    /// Does nothing but wait for others.
    [[nodiscard]] bool waits() const { return !beat.waits_for().empty(); }
  };

  /// A beat that was told before changes nothing.
  void keep(const proto::Heartbeat& beat, double at, double gone_at = 0);
  /// The time between was not the ranks' fault: whoever watches them was held up itself.
  void forgive(double seconds);
  [[nodiscard]] const std::map<int, Rank>& ranks() const { return ranks_; }
  /// Of the run; 0 when no rank has told.
  [[nodiscard]] int size() const;
  /// Ranks that have never told anything.
  [[nodiscard]] std::vector<int> missing() const;
  /// Ranks that have not ended and whose last beat is older than that.
  [[nodiscard]] std::vector<int> silent(double now, double seconds) const;

  /// Who waits for whom: a line each rank: rank, host, pid, job, step, phase, seconds since it last got on, call.
  [[nodiscard]] std::string text(double now) const;
  /// Each rank's last calls.
  [[nodiscard]] std::string last_calls() const;
  /// "rank 1 (host n01, pid 4711): align, step 3, forward".
  [[nodiscard]] std::string describe(int rank) const;

  struct Culprits {
    std::vector<int> ranks;  // may be empty: nothing tells
    std::string reason;      // one line that names them
  };
  /// Why a job does not get on: ranks that send no beats for `silent_after` seconds; else those that fail by themselves; else,
  /// of the job's ranks, those that wait for nobody while others wait; else those that never told anything; else those that are
  /// behind the others.
  [[nodiscard]] Culprits who_holds_up(double now, double silent_after,
                                      const std::string& job) const;
  /// Who died first: a rank with a failure of its own, or the one whose connection was lost first.
  [[nodiscard]] Culprits who_died_first() const;

 private:
  [[nodiscard]] std::vector<int> behind(const std::vector<int>& among) const;
  [[nodiscard]] std::string names(const std::vector<int>& some) const;
  std::map<int, Rank> ranks_;
};

}  // namespace halo::launch
