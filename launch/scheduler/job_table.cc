#include "launch/scheduler/job_table.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/base/error.h"

namespace halo::launch {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

bool is_over(JobState state) {
  return state == JobState::kDone || state == JobState::kFailed || state == JobState::kSkipped;
}

/// The end of the smallest run of neighbouring free ranks that holds `wanted`, else the last free ones; nothing when there are
/// too few. Rank 0, which looks after all jobs, is taken last.
std::vector<int> ranks_for(const std::vector<bool>& is_free, int wanted) {
  std::vector<int> all;
  int best = -1, best_length = 0, length = 0;
  const int ranks = static_cast<int>(is_free.size());
  for (int rank = 0; rank <= ranks; ++rank) {
    if (rank < ranks && is_free[static_cast<std::size_t>(rank)]) {
      all.push_back(rank);
      ++length;
      continue;
    }
    if (length >= wanted && (best < 0 || length <= best_length)) {
      best = rank - wanted;
      best_length = length;
    }
    length = 0;
  }
  if (std::ssize(all) < wanted) return {};
  if (best < 0) {
    all.erase(all.begin(), all.end() - wanted);
    return all;
  }
  std::vector<int> run;
  for (int rank = best; rank < best + wanted; ++rank) run.push_back(rank);
  return run;
}

std::string lacks(const std::string& need, JobState state) {
  return str("needs job ", need, ", which ", state == JobState::kFailed ? "failed" : "was skipped");
}

}  // namespace

std::string to_string(JobState state) {
  switch (state) {
    case JobState::kWaiting:
      return "waiting";
    case JobState::kRunning:
      return "running";
    case JobState::kDone:
      return "done";
    case JobState::kFailed:
      return "failed";
    case JobState::kSkipped:
      return "skipped";
  }
  return "unknown";
}

void JobTable::apply(const proto::SchedulerEvent& event) {
  const double time = event.time();
  switch (event.event_case()) {
    case proto::SchedulerEvent::kAdded:
      add(event.added(), time);
      break;
    case proto::SchedulerEvent::kStarted:
      start(event.started(), time);
      break;
    case proto::SchedulerEvent::kEnded:
      end(event.ended(), time);
      break;
    case proto::SchedulerEvent::kBegan:
      begin(event.began(), time);
      break;
    case proto::SchedulerEvent::kWithdrawn:
      withdraw(event.withdrawn());
      break;
    case proto::SchedulerEvent::EVENT_NOT_SET:
      throw Error("an event of the scheduler that is none");
  }
  note_ready(time);
  last_ = time;
}

void JobTable::add(const proto::JobAdded& added, double time) {
  const std::string& name = added.name();
  HALO_REQUIRE_INPUT(!name.empty(), "a job has no name");
  HALO_REQUIRE_INPUT(ranks() > 0, str("job ", name, " is added before a run began"));
  HALO_REQUIRE_INPUT(added.ranks() >= 0 && (added.is_done() || added.ranks() <= ranks()),
                     str("job ", name, ": it needs ", added.ranks(), " ranks of ", ranks()));
  HALO_REQUIRE_INPUT(added.retries() >= 0, str("job ", name, ": ", added.retries(), " retries"));
  const auto require_before = [&](const auto& others, const char* relation) {
    for (const std::string& other : others)
      HALO_REQUIRE_INPUT(other != name && jobs_.contains(other),
                         str("job ", name, relation, other, ", which was not added before it"));
  };
  require_before(added.needs(), " needs job ");
  require_before(added.after(), " comes after job ");
  if (jobs_.contains(name)) return add_again(added, time);
  JobStatus status;
  status.job = added;
  status.waits_since = kNever;
  status.not_before = time;
  if (added.is_done()) status.state = JobState::kDone;
  skip_for_needs(status);
  jobs_.emplace(name, std::move(status));
  order_.push_back(name);
}

/// It goes to the end, behind all that it may need now.
void JobTable::add_again(const proto::JobAdded& added, double time) {
  JobStatus& status = jobs_.at(added.name());
  HALO_REQUIRE(status.state != JobState::kRunning,
               str("job ", added.name(), " is added again while it runs"));
  if (added.is_done() || status.state == JobState::kDone) {
    status = JobStatus();
    status.state = added.is_done() ? JobState::kDone : JobState::kWaiting;
    status.not_before = time;
  }
  status.job = added;
  status.waits_since = kNever;
  skip_for_needs(status);
  std::erase(order_, added.name());
  order_.push_back(added.name());
}

void JobTable::skip_for_needs(JobStatus& status) const {
  if (status.state != JobState::kWaiting) return;
  for (const std::string& need : status.job.needs()) {
    const JobState state = jobs_.at(need).state;
    if (state != JobState::kFailed && state != JobState::kSkipped) continue;
    status.state = JobState::kSkipped;
    status.reason = lacks(need, state);
    return;
  }
}

void JobTable::start(const proto::JobStarted& started, double time) {
  JobStatus& status = known(started.name());
  HALO_REQUIRE(status.state == JobState::kWaiting && is_ready(status),
               str("job ", started.name(), " cannot start: it is ", to_string(status.state)));
  HALO_REQUIRE(started.rank_size() == ranks_of(status),
               str("job ", started.name(), " wants ", ranks_of(status), " ranks and gets ",
                   started.rank_size()));
  std::vector<std::string> holders = holder_;
  for (const int rank : started.rank()) {
    HALO_REQUIRE(rank >= 0 && rank < ranks(), str("rank ", rank, " of ", ranks()));
    std::string& holder = holders[static_cast<std::size_t>(rank)];
    HALO_REQUIRE(holder.empty(),
                 str("rank ", rank, " is given to job ", started.name(), " and has job ", holder));
    holder = started.name();
  }
  holder_ = std::move(holders);
  status.state = JobState::kRunning;
  status.ranks.assign(started.rank().begin(), started.rank().end());
  std::ranges::sort(status.ranks);
  status.started = time;
  ++status.attempts;
  first_start_ = std::min(first_start_, time);
}

void JobTable::end(const proto::JobEnded& ended, double time) {
  JobStatus& status = known(ended.name());
  HALO_REQUIRE(status.state == JobState::kRunning,
               str("job ", ended.name(), " ends and is ", to_string(status.state)));
  free(status, time);
  if (ended.succeeded()) {
    status.state = JobState::kDone;
    status.reason.clear();
    return;
  }
  status.reason = ended.reason();
  status.is_bad_input = ended.is_bad_input();
  const auto whole = jobs_.find(status.job.part_of());
  const bool in_vain = whole != jobs_.end() && whole->second.state == JobState::kFailed;
  if (!status.is_bad_input && !in_vain && status.attempts <= status.job.retries()) {
    status.state = JobState::kWaiting;
    status.not_before =
        time + std::min(policy_.most_backoff, std::ldexp(policy_.backoff, status.attempts - 1));
    return;
  }
  status.state = JobState::kFailed;
  if (!status.job.part_of().empty()) fail_whole(status);
  skip_those_that_need(ended.name());
}

/// With it go the parts that have not begun.
void JobTable::fail_whole(const JobStatus& part) {
  const std::string& name = part.job.part_of();
  const auto whole = jobs_.find(name);
  if (whole == jobs_.end() || whole->second.state != JobState::kWaiting) return;
  whole->second.state = JobState::kFailed;
  whole->second.reason = part.reason;
  whole->second.is_bad_input = part.is_bad_input;
  for (auto& [unused, other] : jobs_) {
    if (other.job.part_of() != name || other.state != JobState::kWaiting) continue;
    other.state = JobState::kSkipped;
    other.reason = str("is a part of job ", name, ", which failed");
  }
  skip_those_that_need(name);
}

void JobTable::begin(const proto::RunBegan& began, double time) {
  HALO_REQUIRE(began.ranks() > 0, str("a run of ", began.ranks(), " ranks"));
  for (auto& [name, status] : jobs_) {
    if (status.state == JobState::kRunning) {
      free(status, last_);  // how long it went on after that, nobody knows
      status.state = JobState::kWaiting;
      --status.attempts;
    }
    const bool lost = status.state == JobState::kFailed || status.state == JobState::kSkipped;
    if (lost && began.tries_failed_again()) {
      status.state = JobState::kWaiting;
      status.attempts = 0;
      status.not_before = time;
      status.reason.clear();
      status.is_bad_input = false;
    }
  }
  holder_.assign(static_cast<std::size_t>(began.ranks()), {});
  first_start_ = kNever;
  used_ = 0;
}

void JobTable::withdraw(const proto::JobWithdrawn& withdrawn) {
  const std::string& name = withdrawn.name();
  JobStatus& status = known(name);
  HALO_REQUIRE(status.state == JobState::kWaiting,
               str("job ", name, " is withdrawn and is ", to_string(status.state)));
  status.state = withdrawn.fails() ? JobState::kFailed : JobState::kSkipped;
  status.reason = withdrawn.has_reason() ? withdrawn.reason() : "the config has it no more";
  skip_those_that_need(name);
}

int JobTable::ranks_of(const JobStatus& status) const {
  return status.job.ranks() == 0 ? ranks() : status.job.ranks();
}

void JobTable::free(JobStatus& status, double time) {
  for (const int rank : status.ranks) holder_[static_cast<std::size_t>(rank)].clear();
  used_ += static_cast<double>(status.ranks.size()) * std::max(0.0, time - status.started);
  status.ranks.clear();
}

void JobTable::skip_those_that_need(const std::string& gone) {
  for (const std::string& name : order_) {
    JobStatus& status = jobs_.at(name);
    const auto& needs = status.job.needs();
    if (status.state != JobState::kWaiting || std::ranges::find(needs, gone) == needs.end())
      continue;
    skip_for_needs(status);
    skip_those_that_need(name);
  }
}

bool JobTable::is_ready(const JobStatus& status) const {
  if (ranks_of(status) > ranks()) return false;  // this run has fewer than the one that added it
  const auto is_done = [&](const std::string& name) {
    return jobs_.at(name).state == JobState::kDone;
  };
  const auto has_ended = [&](const std::string& name) { return is_over(jobs_.at(name).state); };
  return std::ranges::all_of(status.job.needs(), is_done) &&
         std::ranges::all_of(status.job.after(), has_ended);
}

void JobTable::note_ready(double time) {
  for (auto& [name, status] : jobs_) {
    if (status.state != JobState::kWaiting || !is_ready(status)) {
      status.waits_since = kNever;
    } else if (status.waits_since == kNever) {
      status.waits_since = std::max(time, status.not_before);
    }
  }
}

/// Those that lack nothing but ranks, the first to start first.
std::vector<const JobStatus*> JobTable::startable(double now) const {
  std::vector<const JobStatus*> found;
  for (const std::string& name : order_) {
    const JobStatus& status = jobs_.at(name);
    if (status.state == JobState::kWaiting && status.not_before <= now && is_ready(status))
      found.push_back(&status);
  }
  std::ranges::stable_sort(found, std::ranges::greater{},
                           [](const JobStatus* status) { return status->job.priority(); });
  return found;
}

std::vector<proto::SchedulerEvent> JobTable::due(double now) const {
  std::vector<bool> is_free;
  for (const std::string& holder : holder_) is_free.push_back(holder.empty());
  std::vector<proto::SchedulerEvent> events;
  for (const JobStatus* status : startable(now)) {
    const std::vector<int> given = ranks_for(is_free, ranks_of(*status));
    if (given.empty()) {
      if (now - status->waits_since >= policy_.patience) break;
      continue;
    }
    proto::SchedulerEvent& event = events.emplace_back();
    event.set_time(now);
    event.mutable_started()->set_name(status->job.name());
    for (const int rank : given) {
      event.mutable_started()->add_rank(rank);
      is_free[static_cast<std::size_t>(rank)] = false;
    }
  }
  return events;
}

double JobTable::next_due(double now) const {
  if (!due(now).empty()) return now;
  double next = kNever;
  for (const auto& [name, status] : jobs_) {
    if (status.state == JobState::kWaiting && is_ready(status) && status.not_before > now)
      next = std::min(next, status.not_before);
  }
  return next;
}

bool JobTable::all_ended() const {
  return std::ranges::all_of(jobs_, [](const auto& job) { return is_over(job.second.state); });
}

const JobStatus& JobTable::job(const std::string& name) const {
  const auto found = jobs_.find(name);
  HALO_REQUIRE(found != jobs_.end(), str("the scheduler knows no job ", name));
  return found->second;
}

JobStatus& JobTable::known(const std::string& name) {
  std::ignore = job(name);
  return jobs_.at(name);
}

std::vector<const JobStatus*> JobTable::jobs() const {
  std::vector<const JobStatus*> all;
  for (const std::string& name : order_) all.push_back(&jobs_.at(name));
  return all;
}

int JobTable::free_ranks() const {
  return static_cast<int>(
      std::ranges::count_if(holder_, [](const std::string& holder) { return holder.empty(); }));
}

double JobTable::idle_share(double now) const {
  const double all = ranks() * (now - first_start_);
  if (!(all > 0)) return 0;
  double used = used_;
  for (const auto& [name, status] : jobs_)
    used += static_cast<double>(status.ranks.size()) * std::max(0.0, now - status.started);
  return std::max(0.0, 1 - used / all);
}

}  // namespace halo::launch
