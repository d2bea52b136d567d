#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/health/rank_table.h"
#include "launch/health/slow_ranks.h"

namespace halo::launch {

/// Seconds, but for counts.
struct SupervisionLimits {
  int max_restarts = 10;     // in a row without a checkpoint in between
  double hang_timeout = 30;  // a rank sends no beat
  double step_timeout =
      0;  // a rank does not get on within a step; 0: ten times the job's slowest step so far, at least 60
  double start_timeout =
      600;  // until every rank has sent a beat, and for a first step without an own step_timeout
  double phase_timeout = 1800;  // a rank does not get on while it starts, loads, saves or validates
  double backoff = 1;           // before the first restart; doubles with each in a row
};

/// How the supervised command ended.
struct Ending {
  int code = 0;
  int signal = 0;  // that ended it; 0: it ended by itself
  [[nodiscard]] bool is_good() const { return code == 0 && signal == 0; }
};

/// What the supervisor decides, as a pure function of what it is told: no clock, no processes. A run is started several
/// times; of each start it is told began(), beats and ticks, and ended().
class Supervision {
 public:
  explicit Supervision(const SupervisionLimits& limits) : limits_(limits) {}

  void began(double now);
  void beat(const proto::Heartbeat& beat, double at, double gone_at = 0);
  /// A person or a batch system asked the run to stop: it is not started again.
  void asked_to_stop() { stops_ = true; }

  /// Why the run must be ended, once a start, in one line; nothing while all is well.
  [[nodiscard]] std::optional<std::string> tick(double now);
  /// A line on a rank that is steadily slower than the others of its job; nothing mostly.
  [[nodiscard]] std::optional<std::string> slow_rank(double now);

  struct Next {
    bool restarts = false;
    double after = 0;     // seconds, with restarts
    int code = 0;         // the supervisor's own, without
    std::string message;  // for people; empty when there is nothing to say
  };
  [[nodiscard]] Next ended(const Ending& ending);

  [[nodiscard]] const RankTable& table() const { return table_; }
  /// Without progress in a step of a job this long, a rank hangs.
  [[nodiscard]] double step_limit(const std::string& job) const;

 private:
  struct Pace {  // of one rank
    std::string job;
    std::int64_t step = -1;
    double since = 0;
  };
  void measure(const proto::Heartbeat& beat, double at);
  [[nodiscard]] double limit_of(const RankTable::Rank& rank) const;
  [[nodiscard]] RankTable::Culprits complaint(double now) const;
  [[nodiscard]] std::vector<int> culprits() const;
  [[nodiscard]] bool has_saved() const;
  [[nodiscard]] std::string cause(const Ending& ending) const;
  [[nodiscard]] std::string kind_of(const Ending& ending) const;
  [[nodiscard]] std::string place() const;

  SupervisionLimits limits_;
  RankTable table_;
  double began_ = 0, ticked_ = 0;
  bool stops_ = false;
  RankTable::Culprits complaint_;  // of this start; its reason is empty while all is well
  std::map<std::string, double> slowest_step_;  // of each job
  std::map<int, Pace> paces_;
  SlowRanks slow_ranks_;
  std::map<int, double> told_slow_;  // when that was, by rank
  int failures_ = 0;                 // in a row
  int same_failures_ = 0;            // likewise, at one step
  std::string last_failure_;
};

}  // namespace halo::launch
