#pragma once
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/jobs/run_halving.h"
#include "launch/jobs/sweep_shards.h"
#include "launch/scheduler/job_table.h"
#include "launch/sweep/job_references.h"

namespace halo::launch {

/// How many ranks of a run of `ranks` a job is done by together; the shards of a layer sweep by one each. One that wants more
/// than there are is bad input, InputError, unless hosts were lost since it began: then it has as many as its layout divides,
/// 0 where that are none.
[[nodiscard]] int ranks_of_job(const proto::Job& job, int ranks, bool hosts_lost = false);

/// What is known of a config's jobs beside it.
struct KnownJobs {
  std::set<std::string> ended;  // have done all of their work, by their folders, which know best
  std::map<std::string, ShardPlan> shards;
  std::map<std::string, RungState> rungs;  // RunHalving's
  bool hosts_lost = false;                 // since the run began
};

/// Tells the scheduler what the config says of its jobs now, in job_order's order. A job that reads by its path what an export
/// job before it writes needs that one; a report comes after all jobs before it, well or not. A job with shards comes after
/// them. Jobs that too few ranks are left for fail. `record` applies an event to the table. Jobs of which there is no news
/// get no event.
void enqueue_jobs(const Config& config, const std::vector<int>& order, const KnownJobs& known,
                  const JobTable& table, const std::function<void(proto::SchedulerEvent)>& record);

}  // namespace halo::launch
