#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "launch/scheduler/scheduler.pb.h"

namespace halo::launch {

enum class JobState : std::uint8_t {
  kWaiting,
  kRunning,
  kDone,
  kFailed,   // and no retry is left, or it cannot run on the ranks that there are
  kSkipped,  // a job that it needs has failed or was skipped, or it was withdrawn
};

struct JobStatus {
  proto::JobAdded job;
  JobState state = JobState::kWaiting;
  int attempts = 0;           // begun and not interrupted
  std::vector<int> ranks;     // while it runs, in rising order
  double not_before = 0;      // time before which a failed job is not tried again
  double waits_since = 0;     // when it last became able to start but for free ranks
  double started = 0;         // of the last attempt
  std::string reason;         // why it failed or is skipped
  bool is_bad_input = false;  // the reason is
};

struct SchedulerPolicy {
  double backoff = 5;  // seconds before the first retry, twice as many before each further one
  double most_backoff = 300;  // seconds
  /// Seconds after which a job that could start but for free ranks keeps those behind it from starting: else small ones
  /// could hold up a large one for ever.
  double patience = 60;
};

/// Which jobs of a run wait, run on which ranks, and have ended. Pure state: time is an argument, and everything that
/// happens is an event, so that a journal of events makes the table again. The first event is that a program began.
class JobTable {
 public:
  explicit JobTable(SchedulerPolicy policy = {}) : policy_(policy) {}

  /// Throws InputError for a job that can never run (it needs a job that is not there or more ranks than there are), Error
  /// for an event that cannot follow what came before.
  void apply(const proto::SchedulerEvent& event);

  /// The jobs to start now, as events that are not applied yet: by priority, then in the order in which they were added,
  /// as long as ranks are free. A job gets neighbouring free ranks where there are enough, of the smallest such gap the last.
  [[nodiscard]] std::vector<proto::SchedulerEvent> due(double now) const;
  /// When `due` may give something that it does not give now although nothing ends; infinity for never.
  [[nodiscard]] double next_due(double now) const;

  [[nodiscard]] bool all_ended() const;
  [[nodiscard]] bool knows(const std::string& name) const { return jobs_.contains(name); }
  [[nodiscard]] const JobStatus& job(const std::string& name) const;  // throws Error for none
  /// In the order in which they were added.
  [[nodiscard]] std::vector<const JobStatus*> jobs() const;
  [[nodiscard]] int ranks() const { return static_cast<int>(holder_.size()); }
  [[nodiscard]] int free_ranks() const;
  /// The share of the ranks' time since the program's first start of a job that no job used.
  [[nodiscard]] double idle_share(double now) const;

 private:
  JobStatus& known(const std::string& name);
  void begin(const proto::RunBegan& began, double time);
  void withdraw(const proto::JobWithdrawn& withdrawn);
  void add(const proto::JobAdded& added, double time);
  void add_again(const proto::JobAdded& added, double time);
  void start(const proto::JobStarted& started, double time);
  void end(const proto::JobEnded& ended, double time);
  void free(JobStatus& status, double time);
  void fail_whole(const JobStatus& part);
  void skip_for_needs(JobStatus& status) const;
  void skip_those_that_need(const std::string& name);
  [[nodiscard]] int ranks_of(const JobStatus& status) const;
  /// Marks since when each waiting job lacks nothing but ranks.
  void note_ready(double time);
  /// Lacks nothing but free ranks.
  [[nodiscard]] bool is_ready(const JobStatus& status) const;
  [[nodiscard]] std::vector<const JobStatus*> startable(double now) const;

  SchedulerPolicy policy_;
  std::vector<std::string> holder_;  // by rank: the job that has it; empty: free
  std::map<std::string, JobStatus> jobs_;
  std::vector<std::string> order_;
  double first_start_ = std::numeric_limits<double>::infinity();
  double used_ = 0;  // rank-seconds of attempts that are over
  double last_ = 0;  // time of the last event
};

[[nodiscard]] std::string to_string(JobState state);

}  // namespace halo::launch
