#pragma once
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/jobs/sweep_shards.h"
#include "launch/scheduler/job_table.h"

namespace halo::launch {

/// How many ranks of a run of `ranks` a job is done by together; the shards of a layer sweep by one each. One that wants more
/// than there are is bad input, InputError, unless hosts were lost since it began: then it has as many as its layout divides,
/// 0 where that are none.
[[nodiscard]] int ranks_of_job(const proto::Job& job, int ranks, bool hosts_lost = false);

/// The models that a job reads, as the config names them, paths and "job:NAME".
[[nodiscard]] std::vector<std::string> models_read(const proto::Job& job);

/// Tells the scheduler what the config says of its jobs now. `order` is job_order's, `ended` names the jobs that have done
/// all of their work, by their folders, which know best. A job that reads by its path what an export job before it writes
/// needs that one; a report comes after all jobs before it, well or not. A job with shards, as `plans` say, comes after them.
/// Jobs that too few ranks are left for fail. `record` applies an event to the table. Jobs of which there is no news get no
/// event.
void enqueue_jobs(const Config& config, const std::vector<int>& order,
                  const std::set<std::string>& ended, const std::map<std::string, ShardPlan>& plans,
                  const JobTable& table, const std::function<void(proto::SchedulerEvent)>& record,
                  bool hosts_lost = false);

}  // namespace halo::launch
