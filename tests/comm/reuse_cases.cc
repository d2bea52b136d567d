#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/comm/communicator_cases.h"

namespace halo::comm {
namespace {

/// What a job does: sums over all of its ranks and over halves, and a message around the ring.
void work_in(Communicator& job, int number) {
  float sum = static_cast<float>(number);
  job.all_reduce(view(&sum, {1}), ReduceOp::kSum).wait();
  ASSERT_EQ(sum, static_cast<float>(number * job.size()));
  const auto half = job.split(job.rank() % 2, job.rank(), "half");
  float largest = static_cast<float>(number + job.rank());
  half->all_reduce(view(&largest, {1}), ReduceOp::kMax).wait();
  const int last = job.size() - 1 - (job.size() - 1 - job.rank()) % 2;
  ASSERT_EQ(largest, static_cast<float>(number + last));
  if (job.size() == 1) return;
  std::array<float, 2> sent{static_cast<float>(number), static_cast<float>(job.rank())}, got{};
  const int next = (job.rank() + 1) % job.size();
  const int from = (job.rank() + job.size() - 1) % job.size();
  job.exchange(std::array{Message{next, view(sent.data(), {2})}},
               std::array{Message{from, view(got.data(), {2})}})
      .wait();
  ASSERT_EQ(got, (std::array<float, 2>{static_cast<float>(number), static_cast<float>(from)}));
}

/// Jobs of changing ranks, each of which knows nothing of the others' end.
void thousands_of_jobs(Communicator& world) {
  constexpr int kJobs = 2000;
  for (int number = 0; number < kJobs && !testing::Test::HasFatalFailure(); ++number) {
    std::vector<int> members;
    for (int rank = 0; rank < world.size(); ++rank)
      if (number % 3 == 0 || (rank + number) % 2 == 0) members.push_back(rank);
    if (std::ranges::find(members, world.rank()) == members.end()) continue;
    work_in(*world.group(members, "job"), number);
  }
  world.barrier().wait();
}

/// A message of a failed job lies unread: no later job may read it for its own.
void a_failed_jobs_messages_are_no_others(Communicator& world) {
  if (world.size() == 1) return;
  std::vector<int> all(static_cast<std::size_t>(world.size()));
  for (int rank = 0; rank < world.size(); ++rank) all[static_cast<std::size_t>(rank)] = rank;
  {
    const auto failing = world.group(all, "failing");
    const auto part = failing->split(0, failing->rank(), "part");
    float stale = -1;
    if (world.rank() == 0) {
      Work work = part->exchange(std::array{Message{1, view(&stale, {1})}}, {});
      try {
        work.wait();
      } catch (const PeerFailed&) {
      }
    }
    world.barrier().wait();
    failing->abort("this job failed");
  }
  world.barrier().wait();
  for (int number = 0; number < 100; ++number) {
    const auto job = world.group(all, "job");
    const auto part = job->split(0, job->rank(), "part");
    float value = static_cast<float>(number);
    if (world.rank() == 0) {
      part->exchange(std::array{Message{1, view(&value, {1})}}, {}).wait();
    } else if (world.rank() == 1) {
      part->exchange({}, std::array{Message{0, view(&value, {1})}}).wait();
      EXPECT_EQ(value, static_cast<float>(number));
    }
    part->barrier().wait();
  }
}

void at_once_there_are_as_many_as_tags(Communicator& world) {
  std::vector<int> all(static_cast<std::size_t>(world.size()));
  for (int rank = 0; rank < world.size(); ++rank) all[static_cast<std::size_t>(rank)] = rank;
  std::vector<std::unique_ptr<Communicator>> jobs;
  for (int i = 1; i < kFewTags / 1024; ++i) jobs.push_back(world.group(all, "job"));
  try {
    jobs.push_back(world.group(all, "one too many"));
    ADD_FAILURE() << "more communicators than tags";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("all 31 blocks of message tags"), std::string::npos)
        << error.what();
  }
  world.barrier().wait();
  jobs.erase(jobs.begin() + 7);
  jobs.push_back(world.group(all, "job"));
  for (const auto& job : jobs) job->barrier().wait();
}

constexpr Case kReuseCases[] = {
    {"ThousandsOfJobs", thousands_of_jobs},
    {"AFailedJobsMessagesAreNoOthers", a_failed_jobs_messages_are_no_others},
    {"AtOnceThereAreAsManyAsTags", at_once_there_are_as_many_as_tags},
};

}  // namespace

std::span<const Case> reuse_cases() { return kReuseCases; }

}  // namespace halo::comm
