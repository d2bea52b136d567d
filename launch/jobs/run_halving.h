#pragma once
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/scheduler/job_table.h"
#include "launch/sweep/halving.h"

namespace halo::launch {

/// How far a job of a sweep by successive halving is to go now.
struct RungState {
  std::int64_t until = 0;  // JobAdded's
  bool is_done = false;    // has come there
  std::string failed;      // why, if it failed before a rung that is decided since
};

/// Rank 0's knowledge of a sweep by successive halving: which rungs are decided, by the files of the output, and who is at
/// which. It decides a rung when no job of it is waiting or at work any more; before that, those go on that will in any case.
/// A decision is for good, so nothing is decided by failures that are not the trials' own.
class RunHalving {
 public:
  /// A run without halving has no rungs. Throws InputError when the output holds decisions between other jobs or of other
  /// steps than the config's.
  explicit RunHalving(const Config& run);

  /// By job name; jobs that the sweep does not halve are not in it. `ended` are those that have done all of their steps. Throws
  /// InputError for a job that was trained past a rung by a run that did not measure there what the sweep compares.
  [[nodiscard]] std::map<std::string, RungState> states(const std::set<std::string>& ended);

  /// Whether a job's part ended at a decided rung.
  [[nodiscard]] bool has_dropped(const std::string& job) const { return dropped_.contains(job); }

  /// Decides the rung when all of its jobs are over in the table, and writes the decision down. Returns, as events that are not
  /// applied yet, the jobs that go on to the next one; nothing when nothing is known that was not before. To be called, and its
  /// events applied, until then. Nothing is decided while a job of the rung was skipped or does not fit on the table's ranks, or
  /// when none has an objective.
  [[nodiscard]] std::optional<std::vector<proto::SchedulerEvent>> decide(const JobTable& table);

  /// Why the rung is not decided although no job waits or is at work any more, and what to do; empty when there is none to decide.
  [[nodiscard]] std::string why_undecided(const JobTable& table);

 private:
  using Events = std::vector<proto::SchedulerEvent>;
  void read_decisions();
  void take(const Rung& rung);
  [[nodiscard]] bool is_last(int rung) const { return rung + 1 >= std::ssize(steps_); }
  [[nodiscard]] std::int64_t steps_at(int rung) const {
    return steps_[static_cast<std::size_t>(rung)];
  }
  [[nodiscard]] std::int64_t until_of(int rung) const { return is_last(rung) ? 0 : steps_at(rung); }
  [[nodiscard]] std::optional<Pause> pause_at(const std::string& job, int rung) const;
  [[nodiscard]] bool has_come_to(const std::string& job, int rung) const;
  void require_measured(const std::string& job) const;
  [[nodiscard]] bool all_fit(int ranks) const;
  [[nodiscard]] const RungResult& result_of(const std::string& job);
  [[nodiscard]] std::vector<RungResult> results_of(const JobTable& table);
  [[nodiscard]] std::vector<std::string> certain(std::vector<RungResult> results) const;
  [[nodiscard]] proto::SchedulerEvent goes_on(const JobTable& table, const std::string& job,
                                              int rung) const;

  const Config& run_;
  std::vector<std::int64_t> steps_;             // of each rung; empty: no halving
  std::vector<std::string> jobs_;               // at the rung that is not decided
  std::set<std::string> ahead_;                 // of them, those that go on already
  std::set<std::string> ended_;                 // jobs that had done all of their steps before
  std::map<std::string, RungResult> measured_;  // of those that have paused there
  std::map<std::string, RungState> dropped_;
  std::map<std::string, const proto::Job*> job_of_;  // all that are halved
  int rung_ = 0;
};

}  // namespace halo::launch
