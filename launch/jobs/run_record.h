#pragma once
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "launch/config.h"
#include "launch/jobs/job_queue.h"
#include "launch/jobs/run_halving.h"
#include "launch/jobs/run_jobs.h"
#include "launch/jobs/sweep_shards.h"
#include "launch/scheduler/job_table.h"
#include "launch/scheduler/journal.h"

namespace halo::launch {

/// Rank 0's knowledge of the run: the table of its jobs, kept in output/journal.
class RunRecord {
 public:
  /// The listeners, which must outlive it, are told of the jobs' states.
  RunRecord(const Config& config, int ranks, const RunListeners& listeners);

  /// Tells the scheduler of the config's jobs; which rung those of a sweep are at it knows itself.
  void enqueue(const std::vector<int>& order, KnownJobs known);

  [[nodiscard]] JobTable& table() { return table_; }
  [[nodiscard]] Journal& journal() { return journal_; }

  /// Shows what has happened, and says why a job failed.
  void tell(const proto::SchedulerEvent& event);

  /// Says what was not done, and what the ranks' time went to. The end of a run that left nothing leaves no journal.
  RunOutcome finish();

 private:
  /// The shards of a job, by their states.
  struct Shards {
    int all = 0, done = 0, running = 0;
  };

  void record(proto::SchedulerEvent event);
  void show();  // on the monitor's page
  void tell_failure(const JobStatus& status);
  void decide_rungs();  // adds the jobs that go on to their next one
  void note_shard_done(const std::string& whole);
  void tell_idle_share() const;
  void tell_stopped() const;
  [[nodiscard]] std::map<std::string, Shards> shards() const;
  [[nodiscard]] int find(const std::string& name) const;  // among the config's jobs, or -1

  const Config& config_;
  std::filesystem::path path_;
  Journal journal_;
  JobTable table_;
  RunHalving halving_;
  const RunListeners& listeners_;
  std::map<std::string, ShardPlan> plans_;
  std::map<std::string, std::pair<JobState, int>> shown_;  // state and ranks
  std::set<std::string> told_;                             // jobs of which a shard has failed
  double began_ = 0;
};

}  // namespace halo::launch
