#include "launch/jobs/run_halving.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

#include "checkpoints/checkpoint.h"
#include "checkpoints/checkpoint_folder.h"
#include "core/base/error.h"
#include "launch/config_check.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/job_queue.h"
#include "launch/jobs/job_summary.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

/// By its newest checkpoint, from which it goes on.
std::int64_t steps_done(const JobFolder& folder) {
  const std::vector<fs::path> saved = checkpoints::find_checkpoints(folder.checkpoints());
  return saved.empty() ? 0 : checkpoints::checkpoint_step(saved.front());
}

std::vector<std::string> names_of(const std::vector<RungResult>& results) {
  std::vector<std::string> names;
  for (const RungResult& result : results) names.push_back(result.job);
  return names;
}

}  // namespace

RunHalving::RunHalving(const Config& run) : run_(run) {
  if (!is_halving(run)) return;
  for (const proto::Trial& trial : run.trial()) {
    if (job_of_.contains(trial.job())) continue;
    job_of_[trial.job()] = &run.job(find_job(run, trial.job()));
    jobs_.push_back(trial.job());
  }
  steps_ = rung_steps(run.sweep().halving(), job_of_.at(jobs_.front())->train().steps());
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
    if (result.goes_on) {
      jobs_.push_back(result.job);
      continue;
    }
    const bool came_there = result.objective || pause_at(result.job, rung_);
    dropped_[result.job] = {rung.steps, came_there, came_there ? "" : result.reason};
  }
  ++rung_;
}

/// What a job had come to at a rung, where it paused, or which it passed in a run that measured there without pausing.
std::optional<Pause> RunHalving::pause_at(const std::string& job, int rung) const {
  const JobFolder folder(run_.output(), job);
  const std::int64_t end = steps_at(rung);
  if (const auto pause = read_pause(folder.path(), end)) return pause;
  if (steps_done(folder) < end || !fs::exists(folder.metrics())) return std::nullopt;
  const std::vector<StepMetrics> steps = read_metrics(folder.metrics());
  const auto last = std::ranges::find(steps, end - 1, &StepMetrics::step);
  const bool wants_validation = run_.sweep().objective() == "validation_loss";
  if (last == steps.end() || (wants_validation && !last->validation_loss)) return std::nullopt;
  return pause_of(steps, end);
}

bool RunHalving::has_come_to(const std::string& job, int rung) const {
  return is_last(rung) ? ended_.contains(job) : pause_at(job, rung).has_value();
}

/// Else it would fail at a rung that it is past, and be dropped.
void RunHalving::require_measured(const std::string& job) const {
  const JobFolder folder(run_.output(), job);
  const std::int64_t done = steps_done(folder);
  for (int rung = rung_; !is_last(rung) && steps_at(rung) <= done; ++rung)
    HALO_REQUIRE_INPUT(
        pause_at(job, rung),
        str("job ", job, " has done ", done, " steps, and its ", run_.sweep().objective(),
            " after ", steps_at(rung),
            ", where trials are to be compared, was not measured: remove ", folder.path().string(),
            " to train it again, give another output, or min_steps and ",
            "reduction of which all steps were measured"));
}

/// On fewer ranks than a layout needs a job cannot go on, whatever is decided.
bool RunHalving::all_fit(int ranks) const {
  return std::ranges::all_of(jobs_, [&](const std::string& job) {
    return ended_.contains(job) || ranks_of_job(*job_of_.at(job), ranks, /*hosts_lost=*/true) > 0;
  });
}

/// Of a job that has paused at the rung. Its file is read once.
const RungResult& RunHalving::result_of(const std::string& job) {
  const auto [known, is_new] = measured_.try_emplace(job);
  RungResult& result = known->second;
  if (!is_new) return result;
  const auto pause = pause_at(job, rung_);
  HALO_REQUIRE(pause.has_value(), str("job ", job, " has not paused after ", steps_at(rung_),
                                      " steps, where it was to"));
  result.job = job;
  result.objective = objective_of(run_.sweep(), *pause);
  if (result.objective && !std::isfinite(*result.objective)) result.objective.reset();
  if (!result.objective) result.reason = str("its ", run_.sweep().objective(), " is not a number");
  return result;
}

/// Of the jobs that are over at the rung, in the order of the trials. One that was skipped has not been there.
std::vector<RungResult> RunHalving::results_of(const JobTable& table) {
  std::vector<RungResult> results;
  for (const std::string& job : jobs_) {
    const JobStatus* status = table.knows(job) ? &table.job(job) : nullptr;
    if (ahead_.contains(job) || (status != nullptr && status->state == JobState::kDone))
      results.push_back(result_of(job));
    else if (status != nullptr && status->state == JobState::kFailed)
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
  ended_ = ended;
  for (const std::string& job : jobs_) require_measured(job);
  std::vector<RungResult> results;
  for (const std::string& job : jobs_) {
    const bool paused = has_come_to(job, rung_);
    states[job] = {until_of(rung_), paused, ""};
    if (paused && !is_last(rung_)) results.push_back(result_of(job));
  }
  if (is_last(rung_)) return states;
  for (const std::string& job : certain(results)) {
    ahead_.insert(job);
    states[job] = {until_of(rung_ + 1), has_come_to(job, rung_ + 1), ""};
  }
  return states;
}

proto::SchedulerEvent RunHalving::goes_on(const JobTable& table, const std::string& job,
                                          int rung) const {
  proto::SchedulerEvent event;
  *event.mutable_added() = table.job(job).job;
  event.mutable_added()->set_is_done(has_come_to(job, rung));
  event.mutable_added()->set_until(until_of(rung));
  return event;
}

std::optional<RunHalving::Events> RunHalving::decide(const JobTable& table) {
  if (steps_.empty() || is_last(rung_) || jobs_.empty() || !all_fit(table.ranks()))
    return std::nullopt;
  Events events;
  std::vector<RungResult> results = results_of(table);
  if (results.size() < jobs_.size()) {
    for (const std::string& job : certain(results))
      if (ahead_.insert(job).second) events.push_back(goes_on(table, job, rung_ + 1));
    return events.empty() ? std::nullopt : std::optional(events);
  }
  if (ranked(results).empty()) return std::nullopt;
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

std::string RunHalving::why_undecided(const JobTable& table) {
  if (steps_.empty() || is_last(rung_) || jobs_.empty()) return "";
  const auto missing = std::ssize(jobs_) - std::ssize(results_of(table));
  std::string reason = str("no trial has a ", run_.sweep().objective(),
                           " that is a number: the same command tries again those that failed; of "
                           "others remove the folders, or give other values");
  if (missing > 0) reason = str(missing, " trials were not begun; the same command tries again");
  if (!all_fit(table.ranks()))
    reason = str("layouts of trials need more ranks than ", table.ranks(),
                 "; the same command goes on when they are there");
  return str("sweep: nothing is decided after ", steps_at(rung_), " steps: ", reason);
}

}  // namespace halo::launch
