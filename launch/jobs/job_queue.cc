#include "launch/jobs/job_queue.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <span>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::launch {
namespace {

using google::protobuf::util::MessageDifferencer;

/// How many ranks do it together; 0: all.
int ranks_together(const proto::Job& job) {
  if (job.has_select()) return 1;  // its shards are what takes long
  const bool is_small = job.has_export_() || job.has_report();
  return job.ranks() == 0 && is_small ? 1 : job.ranks();
}

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

/// The shards of a job as jobs of one rank. `whole` comes to need them.
std::vector<proto::JobAdded> added_shards(const proto::Job& job, const ShardPlan& plan,
                                          proto::JobAdded& whole) {
  const proto::JobAdded alone = whole;
  std::vector<proto::JobAdded> shards;
  for (int i = 0; i < plan.count; ++i) {
    proto::JobAdded& shard = shards.emplace_back(alone);
    shard.set_name(to_string({job.name(), method::SweepShard{i, plan.count}}));
    shard.set_part_of(job.name());
    shard.set_is_done(plan.done.contains(i));
    if (job.ranks() > 0 && i >= job.ranks())  // so many at once
      shard.add_after(shards[static_cast<std::size_t>(i - job.ranks())].name());
    whole.add_needs(shard.name());
  }
  return shards;
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
  const int together = ranks_together(job);
  return together > 0 ? together : ranks;
}

void enqueue_jobs(const Config& config, const std::vector<int>& order, const KnownJobs& known,
                  const JobTable& table, const std::function<void(proto::SchedulerEvent)>& record) {
  std::set<std::string> names;
  const auto enqueue = [&](const proto::JobAdded& job) {
    names.insert(job.name());
    if (!is_news(table, job)) return;
    proto::SchedulerEvent event;
    *event.mutable_added() = job;
    record(event);
  };
  const auto withdraw = [&](const std::string& name, const std::string& reason, bool fails) {
    if (table.job(name).state != JobState::kWaiting) return;  // or it needed one that is gone
    proto::SchedulerEvent event;
    event.mutable_withdrawn()->set_name(name);
    if (!reason.empty()) event.mutable_withdrawn()->set_reason(reason);
    event.mutable_withdrawn()->set_fails(fails);
    record(event);
  };
  for (std::size_t i = 0; i < order.size(); ++i) {
    const proto::Job& job = config.job(order[i]);
    const bool has_ended = known.ended.contains(job.name());
    const int asked = ranks_together(job);
    const int ranks = asked == 0 || has_ended || job.has_select()
                          ? asked
                          : ranks_of_job(job, table.ranks(), known.hosts_lost);
    const bool fits = asked == 0 || ranks > 0;
    proto::JobAdded now =
        added(config, job, fits ? ranks : table.ranks(), std::span(order).first(i));
    if (const auto plan = known.shards.find(job.name()); plan != known.shards.end())
      for (const proto::JobAdded& shard : added_shards(job, plan->second, now)) enqueue(shard);
    now.set_is_done(has_ended);
    if (const auto rung = known.rungs.find(job.name()); rung != known.rungs.end()) {
      now.set_until(rung->second.until);
      now.set_is_done(rung->second.is_done);
    }
    enqueue(now);
    if (!fits) withdraw(job.name(), too_few_ranks(job, table.ranks()), /*fails=*/true);
  }
  // After those that may need them no more.
  std::vector<std::string> gone;  // first: an event may make the table's statuses anew
  for (const JobStatus* status : table.jobs())
    if (!names.contains(status->job.name())) gone.push_back(status->job.name());
  for (const std::string& name : gone) withdraw(name, "", /*fails=*/false);
  for (const auto& [name, rung] : known.rungs)
    if (!rung.failed.empty()) withdraw(name, rung.failed, /*fails=*/true);
}

}  // namespace halo::launch
