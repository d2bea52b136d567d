#include "launch/jobs/run_halving.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/base/error.h"
#include "launch/config_check.h"
#include "launch/jobs/job_folder.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

bool is_over(JobState state) { return state != JobState::kWaiting && state != JobState::kRunning; }

std::vector<std::string> names_of(const std::vector<RungResult>& results) {
  std::vector<std::string> names;
  for (const RungResult& result : results) names.push_back(result.job);
  return names;
}

}  // namespace

RunHalving::RunHalving(const Config& run) : run_(run) {
  if (!is_halving(run)) return;
  for (const proto::Trial& trial : run.trial())
    if (std::ranges::find(jobs_, trial.job()) == jobs_.end()) jobs_.push_back(trial.job());
  const proto::Job& job = run.job(find_job(run, jobs_.front()));
  steps_ = rung_steps(run.sweep().halving(), job.train().steps());
  read_decisions();
}

void RunHalving::read_decisions() {
  for (; !is_last(); ++rung_) {
    const fs::path path = rung_file(run_.output(), rung_);
    if (!fs::exists(path)) return;
    const Rung rung = read_rung(path);
    HALO_REQUIRE_INPUT(
        names_of(rung.results) == jobs_ && rung.steps == steps_[static_cast<std::size_t>(rung_)],
        str(path.string(), ": was decided between other trials, or after other steps, than the ",
            "config's now: give the old sweep, another output, or remove ",
            path.parent_path().string(), " and all jobs of the trials"));
    std::erase_if(jobs_, [](const std::string&) { return true; });
    for (const RungResult& result : rung.results) {
      if (result.goes_on)
        jobs_.push_back(result.job);
      else
        dropped_[result.job] = {rung.steps, result.objective.has_value(), result.reason};
    }
  }
}

std::map<std::string, RungState> RunHalving::states(const std::set<std::string>& ended) const {
  std::map<std::string, RungState> states = dropped_;
  if (steps_.empty()) return states;
  const std::int64_t steps = steps_[static_cast<std::size_t>(rung_)];
  for (const std::string& job : jobs_) {
    const auto pause = read_pause(JobFolder(run_.output(), job).path());
    states[job] = is_last() ? RungState{0, ended.contains(job), ""}
                            : RungState{steps, pause && pause->step == steps, ""};
  }
  return states;
}

RungResult RunHalving::result_of(const JobStatus& status) const {
  RungResult result;
  result.job = status.job.name();
  if (status.state != JobState::kDone) {
    result.reason = status.reason;
    return result;
  }
  const auto pause = read_pause(JobFolder(run_.output(), result.job).path());
  HALO_REQUIRE(pause && pause->step == steps_[static_cast<std::size_t>(rung_)],
               str("job ", result.job, " has not paused where it was to"));
  result.objective = objective_of(run_.sweep(), *pause);
  if (!result.objective) result.reason = str("its ", run_.sweep().objective(), " is not a number");
  return result;
}

std::vector<proto::SchedulerEvent> RunHalving::decide(const JobTable& table) {
  std::vector<proto::SchedulerEvent> events;
  if (steps_.empty() || is_last() || jobs_.empty()) return events;
  for (const std::string& job : jobs_)
    if (!table.knows(job) || !is_over(table.job(job).state)) return events;
  std::vector<RungResult> results;
  for (const std::string& job : jobs_) results.push_back(result_of(table.job(job)));
  decide_rung(results, run_.sweep().halving().reduction());
  const std::int64_t steps = steps_[static_cast<std::size_t>(rung_)];
  write_rung(rung_file(run_.output(), rung_), {steps, results});
  jobs_.clear();
  ++rung_;
  for (const RungResult& result : results) {
    if (!result.goes_on) {
      dropped_[result.job] = {steps, result.objective.has_value(), result.reason};
      continue;
    }
    jobs_.push_back(result.job);
    proto::SchedulerEvent& event = events.emplace_back();
    *event.mutable_added() = table.job(result.job).job;
    event.mutable_added()->clear_is_done();
    event.mutable_added()->set_until(is_last() ? 0 : steps_[static_cast<std::size_t>(rung_)]);
  }
  LOG(INFO) << "after " << steps << " steps " << events.size() << " of " << results.size()
            << " trials go on";
  return events;
}

}  // namespace halo::launch
