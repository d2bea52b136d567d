#pragma once
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/jobs/run_halving.h"
#include "launch/scheduler/job_table.h"
#include "launch/sweep/job_references.h"

namespace halo::launch {

/// How many ranks of a run of `ranks` a job is done by. Throws InputError when it wants more than there are.
[[nodiscard]] int ranks_of_job(const proto::Job& job, int ranks);

/// Tells the scheduler what the config says of its jobs now. `order` is job_order's, `ended` names the jobs that have done
/// all of their work, by their folders, which know best; `rungs` are RunHalving's. A job that reads by its path what an export job before it writes
/// needs that one; a report comes after all jobs before it, well or not. `record` applies an event to the table. Jobs of
/// which there is no news get no event.
void enqueue_jobs(const Config& config, const std::vector<int>& order,
                  const std::set<std::string>& ended, const std::map<std::string, RungState>& rungs,
                  const JobTable& table, const std::function<void(proto::SchedulerEvent)>& record);

}  // namespace halo::launch
