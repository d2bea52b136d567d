#include "launch/jobs/run_record.h"

#include <algorithm>
#include <iostream>

#include "core/base/clock.h"
#include "core/base/text.h"
#include "launch/jobs/job_context.h"
#include "launch/monitor/status_board.h"
#include "launch/program.h"
#include "launch/sweep/expand_sweep.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

bool is_part(const JobStatus& status) { return !status.job.part_of().empty(); }

}  // namespace

RunRecord::RunRecord(const Config& config, int ranks, const RunListeners& listeners)
    : config_(config),
      path_(fs::path(config.output()) / "journal"),
      journal_(path_),
      halving_(config),
      listeners_(listeners) {
  for (const auto& event : journal_.events()) table_.apply(event);
  proto::SchedulerEvent event;
  event.mutable_began()->set_ranks(ranks);
  event.mutable_began()->set_tries_failed_again(true);
  record(event);
}

void RunRecord::enqueue(const std::vector<int>& order, KnownJobs known) {
  plans_ = known.shards;
  known.rungs = halving_.states(known.ended);
  enqueue_jobs(config_, order, known, table_, [this](const proto::SchedulerEvent& event) {
    record(event);
    if (!event.withdrawn().fails()) return;
    const std::string& name = event.withdrawn().name();
    if (!halving_.has_dropped(name)) tell_failure(table_.job(name));  // else an earlier start did
    if (listeners_.on_failure) listeners_.on_failure(event.withdrawn().reason(), false);
  });
  decide_rungs();
  for (const auto& [job, plan] : plans_)
    if (!plan.done.empty())
      std::cout << "job " << job << " goes on: " << plan.done.size() << " of " << plan.count
                << " shards are done\n";
  std::cout.flush();
  show();
  began_ = unix_seconds();
}

void RunRecord::tell(const proto::SchedulerEvent& event) {
  show();
  if (!event.has_ended()) return;
  const JobStatus& status = table_.job(event.ended().name());
  if (!event.ended().succeeded())
    tell_failure(status);
  else if (is_part(status))
    note_shard_done(status.job.part_of());
  decide_rungs();
}

void RunRecord::decide_rungs() {
  while (const auto events = halving_.decide(table_)) {
    for (const auto& event : *events) record(event);
    show();
  }
}

/// Of shards that fail for one reason, once.
void RunRecord::tell_failure(const JobStatus& status) {
  const std::string& name = is_part(status) ? status.job.part_of() : status.job.name();
  const bool again = status.state == JobState::kWaiting;
  if (is_part(status) && !again && !told_.insert(name).second) return;
  const std::string job = "job " + name;
  std::string text = status.reason;
  if (text.find(job) == std::string::npos) text = job + ": " + text;
  if (const std::string trial = trial_of_job(config_, name); !trial.empty())
    text += ", in " + trial;
  if (again)
    text += str(" (", is_part(status) ? "this shard" : "it", " is tried again, after try ",
                status.attempts, " of ", status.job.retries() + 1, ")");
  report_error("halo_train", text);
}

/// The first result proves the job's input good: from now on the config must stay as it is.
void RunRecord::note_shard_done(const std::string& whole) {
  const Shards of_job = shards().at(whole);
  const bool is_stored = fs::exists(JobFolder(config_.output(), whole).config());
  if (const int job = find(whole); job >= 0 && !is_stored) begin_job_folder(config_, job);
  std::cout << "job " << whole << ": " << of_job.done << " of " << of_job.all << " shards are done"
            << std::endl;
}

RunOutcome RunRecord::finish() {
  bool failed = false, all_bad_input = true, ended = true, left_something = false;
  for (const JobStatus* status : table_.jobs()) {
    const std::string& name = status->job.name();
    left_something = left_something || fs::exists(JobFolder(config_.output(), name).path());
    ended = ended && status->state != JobState::kWaiting && status->state != JobState::kRunning;
    if (status->state == JobState::kFailed) {
      failed = true;
      all_bad_input = all_bad_input && status->is_bad_input;
    }
    if (status->state == JobState::kSkipped && find(name) >= 0 && !halving_.has_dropped(name))
      std::cout << "job " << name << " was not begun: it " << status->reason << '\n';
  }
  if (const std::string reason = ended ? halving_.why_undecided(table_) : ""; !reason.empty()) {
    report_error("halo_train", reason);
    all_bad_input = all_bad_input && failed;
    failed = true;
  }
  tell_stopped();
  tell_idle_share();
  std::cout.flush();
  if (!left_something) fs::remove(path_);
  if (!ended) return RunOutcome::kStopped;
  if (!failed) return RunOutcome::kDone;
  return all_bad_input ? RunOutcome::kBadInput : RunOutcome::kFailed;
}

void RunRecord::tell_stopped() const {
  for (const auto& [name, of_job] : shards()) {
    const bool begun = of_job.done > 0 || of_job.running > 0;
    if (!begun || table_.job(name).state != JobState::kWaiting) continue;
    std::cout << "stopped as asked before the end of job " << name << ", with " << of_job.done
              << " of " << of_job.all << " shards done; the same command goes on from there\n";
  }
}

void RunRecord::tell_idle_share() const {
  const auto done = std::ranges::count_if(table_.jobs(), [&](const JobStatus* status) {
    return status->started >= began_ && status->state == JobState::kDone;
  });
  if (table_.ranks() < 2 || done < 2) return;
  const double now = unix_seconds();
  std::cout << done << " jobs on " << table_.ranks() << " ranks in " << human_seconds(now - began_)
            << ", " << formatted("%.0f%%", 100 * table_.idle_share(now))
            << " of the ranks' time without a job\n";
}

void RunRecord::record(proto::SchedulerEvent event) {
  event.set_time(unix_seconds());
  record_event(event, journal_, table_);
}

/// A job with shards runs on the ranks that those run on.
void RunRecord::show() {
  StatusBoard* const board = listeners_.board;
  if (board == nullptr) return;
  const std::map<std::string, Shards> all_shards = shards();
  for (const JobStatus* status : table_.jobs()) {
    if (is_part(*status)) continue;
    const std::string& name = status->job.name();
    std::pair now(status->state, static_cast<int>(status->ranks.size()));
    if (const auto found = all_shards.find(name); found != all_shards.end() &&
                                                  found->second.running > 0 && now.second == 0 &&
                                                  now.first == JobState::kWaiting)
      now = {JobState::kRunning, found->second.running};
    const auto [known, is_new] = shown_.emplace(name, now);
    const auto was = std::exchange(known->second, now);
    if (!is_new && was == now) continue;
    if (is_new || was.first != now.first)
      board->job_state(name, now.first, steady_seconds(), status->reason);
    if (now.second > 0) board->job_ranks(name, now.second);
  }
}

/// Of the jobs that are shared out now; an earlier program may have done it otherwise.
std::map<std::string, RunRecord::Shards> RunRecord::shards() const {
  std::map<std::string, Shards> found;
  for (const JobStatus* status : table_.jobs()) {
    const auto plan = plans_.find(status->job.part_of());
    if (plan == plans_.end()) continue;
    if (parse_scheduled_name(status->job.name()).shard->count != plan->second.count) continue;
    Shards& of_job = found[plan->first];
    ++of_job.all;
    of_job.done += status->state == JobState::kDone ? 1 : 0;
    of_job.running += status->state == JobState::kRunning ? 1 : 0;
  }
  return found;
}

int RunRecord::find(const std::string& name) const { return find_job(config_, name); }

}  // namespace halo::launch
