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
  for (; !is_last(rung_);) {
    const fs::path path = rung_file(run_.output(), rung_);
    if (!fs::exists(path)) return;
    const Rung rung = read_rung(path);
    HALO_REQUIRE_INPUT(
        names_of(rung.results) == jobs_ && rung.steps == steps_at(rung_),
        str(path.string(), ": was decided between other trials, or after other steps, than the ",
            "config's now: give the old sweep, another output, or remove ",
            path.parent_path().string(), " and all jobs of the trials"));
    take(rung);
  }
}

/// What is decided.
void RunHalving::take(const Rung& rung) {
  jobs_.clear();
  ahead_.clear();
  measured_.clear();
  for (const RungResult& result : rung.results) {
    if (result.goes_on)
      jobs_.push_back(result.job);
    else
      dropped_[result.job] = {rung.steps, result.objective.has_value(), result.reason};
  }
  ++rung_;
}

/// Of a job that has paused at the rung. Its file is read once.
const RungResult& RunHalving::result_of(const std::string& job) {
  const auto [known, is_new] = measured_.try_emplace(job);
  RungResult& result = known->second;
  if (!is_new) return result;
  const auto pause = read_pause(JobFolder(run_.output(), job).path(), steps_at(rung_));
  HALO_REQUIRE(pause.has_value(), str("job ", job, " has not paused after ", steps_at(rung_),
                                      " steps, where it was to"));
  result.job = job;
  result.objective = objective_of(run_.sweep(), *pause);
  if (!result.objective) result.reason = str("its ", run_.sweep().objective(), " is not a number");
  return result;
}

/// Of the jobs that are over at the rung, in the order of the trials.
std::vector<RungResult> RunHalving::results_of(const JobTable& table) {
  std::vector<RungResult> results;
  for (const std::string& job : jobs_) {
    const JobStatus* status = table.knows(job) ? &table.job(job) : nullptr;
    if (ahead_.contains(job) || (status != nullptr && status->state == JobState::kDone))
      results.push_back(result_of(job));
    else if (status != nullptr && is_over(status->state))
      results.push_back({job, std::nullopt, status->reason, false});
  }
  return results;
}

/// Those that go on even if all that are not over yet are better.
std::vector<std::string> RunHalving::certain(std::vector<RungResult> results) const {
  const std::size_t open = jobs_.size() - results.size();
  const std::size_t places = places_of(jobs_.size(), run_.sweep().halving().reduction());
  std::vector<std::string> found;
  for (const RungResult* result : ranked(results))
    if (found.size() + open < places) found.push_back(result->job);
  return found;
}

std::map<std::string, RungState> RunHalving::states(const std::set<std::string>& ended) {
  std::map<std::string, RungState> states = dropped_;
  if (steps_.empty()) return states;
  const auto has_paused = [&](const std::string& job, int rung) {
    return is_last(rung)
               ? ended.contains(job)
               : read_pause(JobFolder(run_.output(), job).path(), steps_at(rung)).has_value();
  };
  std::vector<RungResult> results;
  for (const std::string& job : jobs_) {
    const bool paused = has_paused(job, rung_);
    states[job] = {until_of(rung_), paused, ""};
    if (paused && !is_last(rung_)) results.push_back(result_of(job));
  }
  if (is_last(rung_)) return states;
  for (const std::string& job : certain(results)) {
    ahead_.insert(job);
    states[job] = {until_of(rung_ + 1), has_paused(job, rung_ + 1), ""};
  }
  return states;
}

proto::SchedulerEvent RunHalving::goes_on(const JobTable& table, const std::string& job,
                                          int rung) const {
  proto::SchedulerEvent event;
  *event.mutable_added() = table.job(job).job;
  event.mutable_added()->clear_is_done();
  event.mutable_added()->set_until(until_of(rung));
  return event;
}

std::optional<RunHalving::Events> RunHalving::decide(const JobTable& table) {
  if (steps_.empty() || is_last(rung_) || jobs_.empty()) return std::nullopt;
  Events events;
  std::vector<RungResult> results = results_of(table);
  if (results.size() < jobs_.size()) {
    for (const std::string& job : certain(results))
      if (ahead_.insert(job).second) events.push_back(goes_on(table, job, rung_ + 1));
    return events.empty() ? std::nullopt : std::optional(events);
  }
  decide_rung(results, run_.sweep().halving().reduction());
  const Rung rung{steps_at(rung_), results};
  write_rung(rung_file(run_.output(), rung_), rung);
  const std::set<std::string> ahead = ahead_;
  take(rung);
  for (const std::string& job : jobs_)
    if (!ahead.contains(job)) events.push_back(goes_on(table, job, rung_));
  LOG(INFO) << "after " << rung.steps << " steps " << jobs_.size() << " of " << results.size()
            << " trials go on";
  return events;
}

}  // namespace halo::launch
