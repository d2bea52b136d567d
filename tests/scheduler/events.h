#pragma once
#include <string>
#include <vector>

#include "launch/scheduler/scheduler.pb.h"

namespace halo::launch {

struct JobOptions {
  std::vector<std::string> needs = {};
  int ranks = 1, priority = 0, retries = 0;
  std::vector<std::string> after = {};
  bool is_done = false;
  std::string part_of = {};
};
inline proto::SchedulerEvent added(const std::string& name, const JobOptions& options = {},
                                   double time = 0) {
  proto::SchedulerEvent event;
  event.set_time(time);
  proto::JobAdded& job = *event.mutable_added();
  job.set_name(name);
  for (const std::string& need : options.needs) job.add_needs(need);
  job.set_ranks(options.ranks);
  job.set_priority(options.priority);
  job.set_retries(options.retries);
  for (const std::string& other : options.after) job.add_after(other);
  if (options.is_done) job.set_is_done(true);
  if (!options.part_of.empty()) job.set_part_of(options.part_of);
  return event;
}
inline proto::SchedulerEvent started(const std::string& name, const std::vector<int>& ranks,
                                     double time = 0) {
  proto::SchedulerEvent event;
  event.set_time(time);
  event.mutable_started()->set_name(name);
  for (const int rank : ranks) event.mutable_started()->add_rank(rank);
  return event;
}
inline proto::SchedulerEvent ended(const std::string& name, bool succeeded, double time = 0,
                                   const std::string& reason = "it broke") {
  proto::SchedulerEvent event;
  event.set_time(time);
  event.mutable_ended()->set_name(name);
  event.mutable_ended()->set_succeeded(succeeded);
  if (!succeeded) event.mutable_ended()->set_reason(reason);
  return event;
}
inline proto::SchedulerEvent began(int ranks, double time = 0, bool tries_failed_again = false) {
  proto::SchedulerEvent event;
  event.set_time(time);
  event.mutable_began()->set_ranks(ranks);
  event.mutable_began()->set_tries_failed_again(tries_failed_again);
  return event;
}
inline proto::SchedulerEvent withdrawn(const std::string& name, double time = 0) {
  proto::SchedulerEvent event;
  event.set_time(time);
  event.mutable_withdrawn()->set_name(name);
  return event;
}

}  // namespace halo::launch
