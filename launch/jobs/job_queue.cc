#include "launch/jobs/job_queue.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <span>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::launch {
namespace {

using google::protobuf::util::MessageDifferencer;

bool is_for_one_rank(const proto::Job& job) { return job.has_export_() || job.has_report(); }

/// `before` are the positions of the jobs that come before it.
proto::JobAdded added(const Config& config, const proto::Job& job, std::span<const int> before) {
  proto::JobAdded event;
  event.set_name(job.name());
  event.set_priority(job.priority());
  event.set_retries(job.retries());
  event.set_ranks(job.ranks() == 0 && is_for_one_rank(job) ? 1 : job.ranks());
  *event.mutable_needs() = job.needs();
  const std::vector<std::string> models = models_read(job);
  for (const int i : before) {
    const proto::Job& other = config.job(i);
    const bool is_read =
        other.has_export_() && std::ranges::any_of(models, [&](const std::string& model) {
          return referenced_job(model).empty() && is_same_file(other.export_().to(), model);
        });
    if (is_read && std::ranges::find(job.needs(), other.name()) == job.needs().end())
      event.add_needs(other.name());
    if (job.has_report()) event.add_after(other.name());
  }
  return event;
}

bool is_news(const JobTable& table, const proto::JobAdded& job) {
  if (!table.knows(job.name())) return true;
  const JobStatus& known = table.job(job.name());
  proto::JobAdded was = known.job;
  was.set_is_done(known.state == JobState::kDone);
  return !MessageDifferencer::Equals(was, job);
}

}  // namespace

int ranks_of_job(const proto::Job& job, int ranks) {
  HALO_REQUIRE_INPUT(job.ranks() <= ranks,
                     str("job ", job.name(), ": ranks is ", job.ranks(), " and there ",
                         ranks == 1 ? "is " : "are ", ranks,
                         ": start more, or give fewer, or 0 for all there are"));
  if (job.ranks() > 0) return job.ranks();
  return is_for_one_rank(job) ? 1 : ranks;
}

void enqueue_jobs(const Config& config, const std::vector<int>& order,
                  const std::set<std::string>& ended, const std::map<std::string, RungState>& rungs,
                  const JobTable& table, const std::function<void(proto::SchedulerEvent)>& record) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    const proto::Job& job = config.job(order[i]);
    proto::JobAdded now = added(config, job, std::span(order).first(i));
    now.set_is_done(ended.contains(job.name()));
    if (const auto rung = rungs.find(job.name()); rung != rungs.end()) {
      now.set_until(rung->second.until);
      now.set_is_done(rung->second.is_done);
    }
    if (!is_news(table, now)) continue;
    proto::SchedulerEvent event;
    *event.mutable_added() = now;
    record(event);
  }
  // After those that may need them no more.
  std::map<std::string, std::string> gone;  // and why; empty: the config has it no more
  for (const JobStatus* status : table.jobs()) gone[status->job.name()];
  for (const int i : order) gone.erase(config.job(i).name());
  for (const auto& [name, rung] : rungs)
    if (!rung.failed.empty()) gone[name] = rung.failed;
  for (const auto& [name, reason] : gone) {
    if (table.job(name).state != JobState::kWaiting) continue;  // or it needed one that is gone
    proto::SchedulerEvent event;
    event.mutable_withdrawn()->set_name(name);
    if (!reason.empty()) event.mutable_withdrawn()->set_reason(reason);
    record(event);
  }
}

}  // namespace halo::launch
