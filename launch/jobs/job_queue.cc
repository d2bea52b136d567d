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

/// On so many ranks, 0 for all; `before` are the positions of the jobs that come before it.
proto::JobAdded added(const Config& config, const proto::Job& job, int ranks,
                      std::span<const int> before) {
  proto::JobAdded event;
  event.set_name(job.name());
  event.set_priority(job.priority());
  event.set_retries(job.retries());
  event.set_ranks(ranks);
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

std::string too_few_ranks(const proto::Job& job, int ranks) {
  const auto& layout = job.layout();
  return str("job ", job.name(), ": its hosts are gone: ", ranks,
             ranks == 1 ? " rank is" : " ranks are", " left of the ", job.ranks(),
             " that it asks for, and its layout of pipeline=", layout.pipeline(),
             ", context=", layout.context(), " and tensor=", layout.tensor(),
             " needs a multiple of ", layout.pipeline() * layout.context() * layout.tensor());
}

bool is_news(const JobTable& table, const proto::JobAdded& job) {
  if (!table.knows(job.name())) return true;
  const JobStatus& known = table.job(job.name());
  proto::JobAdded was = known.job;
  was.set_is_done(known.state == JobState::kDone);
  return !MessageDifferencer::Equals(was, job);
}

}  // namespace

int ranks_of_job(const proto::Job& job, int ranks, bool hosts_lost) {
  if (hosts_lost && job.ranks() > ranks) {
    const auto& layout = job.layout();
    const int divisor =
        job.has_train() ? layout.pipeline() * layout.context() * layout.tensor() : 1;
    return ranks / divisor * divisor;
  }
  HALO_REQUIRE_INPUT(job.ranks() <= ranks,
                     str("job ", job.name(), ": ranks is ", job.ranks(), " and there ",
                         ranks == 1 ? "is " : "are ", ranks,
                         ": start more, or give fewer, or 0 for all there are"));
  if (job.ranks() > 0) return job.ranks();
  return is_for_one_rank(job) ? 1 : ranks;
}

std::vector<std::string> models_read(const proto::Job& job) {
  std::vector<std::string> models{job.train().teacher(), job.train().student(), job.train().model(),
                                  job.export_().from()};
  models.insert(models.end(), job.evaluate().models().begin(), job.evaluate().models().end());
  std::erase(models, std::string());
  return models;
}

void enqueue_jobs(const Config& config, const std::vector<int>& order,
                  const std::set<std::string>& ended, const JobTable& table,
                  const std::function<void(proto::SchedulerEvent)>& record, bool hosts_lost) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    const proto::Job& job = config.job(order[i]);
    const bool has_ended = ended.contains(job.name());
    const bool takes_all = job.ranks() == 0 && !is_for_one_rank(job);
    const int ranks = takes_all   ? 0
                      : has_ended ? std::max(job.ranks(), 1)
                                  : ranks_of_job(job, table.ranks(), hosts_lost);
    const bool fits = takes_all || ranks > 0;
    proto::JobAdded now =
        added(config, job, fits ? ranks : table.ranks(), std::span(order).first(i));
    now.set_is_done(has_ended);
    proto::SchedulerEvent event;
    if (is_news(table, now)) {
      *event.mutable_added() = now;
      record(event);
    }
    if (fits || table.job(job.name()).state != JobState::kWaiting) continue;
    event.mutable_withdrawn()->set_name(job.name());
    event.mutable_withdrawn()->set_reason(too_few_ranks(job, table.ranks()));
    record(event);
  }
  // After those that may need them no more.
  std::set<std::string> names;
  for (const int i : order) names.insert(config.job(i).name());
  std::vector<std::string> gone;
  for (const JobStatus* status : table.jobs())
    if (status->state == JobState::kWaiting && !names.contains(status->job.name()))
      gone.push_back(status->job.name());
  for (const std::string& name : gone) {
    if (table.job(name).state != JobState::kWaiting) continue;  // it needed one that is gone
    proto::SchedulerEvent event;
    event.mutable_withdrawn()->set_name(name);
    record(event);
  }
}

}  // namespace halo::launch
