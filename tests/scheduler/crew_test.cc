#include "launch/scheduler/crew.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "core/base/clock.h"
#include "parallel/comm/local_communicator.h"
#include "tests/scheduler/events.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

using comm::Communicator;
using Outcome = proto::JobReport;

/// What a test's jobs do on each rank: they get a communicator of their ranks.
using Body = std::function<Outcome::Outcome(const std::string& job, Communicator& ranks,
                                            const std::function<bool()>& stop_requested)>;

class CrewTest : public testing::Test {
 protected:
  /// A program on `size` ranks that are threads.
  void run(int size, const std::vector<proto::SchedulerEvent>& jobs, const Body& body) {
    comm::run_ranks(size, [&](Communicator& world) {
      const auto control = world.split(0, world.rank(), "control");
      CrewOptions options;
      options.clock = steady_seconds;
      options.stop = &stop_[static_cast<std::size_t>(world.rank())];
      options.longest_silence = longest_silence_;
      options.on_event = on_event_;
      options.work = [&](const proto::JobOrder& order,
                         const std::function<bool()>& stop_requested) {
        return work(world, order, body, stop_requested);
      };
      if (world.rank() != 0) return run_other(*control, options);
      Journal journal(folder_ / "journal");
      JobTable table(SchedulerPolicy{.backoff = 0.001, .most_backoff = 0.004, .patience = 0.05});
      const auto record = [&](proto::SchedulerEvent event) {
        event.set_time(steady_seconds());
        journal.append(event);
        table.apply(event);
      };
      for (const auto& event : journal.events()) table.apply(event);
      record(began(size));
      for (const auto& job : jobs)
        if (!table.knows(job.added().name())) record(job);
      run_first(*control, table, journal, options);
      states_.clear();
      for (const JobStatus* status : table.jobs()) states_[status->job.name()] = *status;
      all_ended_ = table.all_ended();
    });
  }

  proto::JobReport work(Communicator& world, const proto::JobOrder& order, const Body& body,
                        const std::function<bool()>& stop_requested) {
    proto::JobReport report;
    report.set_job(order.job());
    const std::vector<int> members(order.rank().begin(), order.rank().end());
    const auto ranks = world.group(members, order.job());
    try {
      report.set_outcome(body(order.job(), *ranks, stop_requested));
      if (report.outcome() == Outcome::SUCCEEDED) ranks->barrier().wait();
    } catch (const comm::PeerFailed& failure) {
      report.set_outcome(Outcome::PEER_FAILED);
      report.set_reason(failure.what());
    } catch (const Error& error) {
      ranks->abort(error.what());
      report.set_outcome(Outcome::FAILED);
      report.set_reason(error.what());
    }
    const std::lock_guard lock(mutex_);
    ++done_[order.job()];
    return report;
  }

  test::TemporaryFolder folder_;
  std::array<std::atomic<bool>, 8> stop_{};  // by rank
  double longest_silence_ = 600;
  std::function<void(const proto::SchedulerEvent&)> on_event_;
  std::mutex mutex_;
  std::map<std::string, int> done_;  // calls of `work`, by job
  std::map<std::string, JobStatus> states_;
  bool all_ended_ = false;
};

Outcome::Outcome nothing(const std::string&, Communicator&, const std::function<bool()>&) {
  return Outcome::SUCCEEDED;
}

TEST_F(CrewTest, EveryJobIsDoneByItsRanks) {
  for (const int size : {1, 2, 5}) {
    done_.clear();
    std::filesystem::remove(folder_ / "journal");
    run(size, {added("all", {.ranks = 0}), added("one"), added("after", {.needs = {"all", "one"}})},
        nothing);
    EXPECT_TRUE(all_ended_);
    EXPECT_EQ(done_, (std::map<std::string, int>{{"all", size}, {"one", 1}, {"after", 1}}));
  }
}

/// Four jobs that each wait until all four have begun.
TEST_F(CrewTest, JobsRunSideBySide) {
  std::atomic<int> here = 0;
  const auto meet = [&](const std::string&, Communicator& ranks,
                        const std::function<bool()>& stop_requested) {
    if (ranks.rank() == 0) ++here;
    const double begin = steady_seconds();
    while (here < 4) {
      if (steady_seconds() - begin > 20) throw Error("the others never came");
      std::ignore = stop_requested();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return Outcome::SUCCEEDED;
  };
  run(6, {added("a", {.ranks = 2}), added("b", {.ranks = 2}), added("c"), added("d")}, meet);
  for (const auto& [name, status] : states_)
    EXPECT_EQ(status.state, JobState::kDone) << status.reason;
}

/// While rank 0 is at a long job the others go on, as long as it looks after them.
TEST_F(CrewTest, RankZeroWorksAlong) {
  std::atomic<int> small = 0;
  const auto body = [&](const std::string& job, Communicator&,
                        const std::function<bool()>& stop_requested) {
    if (job != "long") {
      ++small;
      return Outcome::SUCCEEDED;
    }
    const double begin = steady_seconds();
    while (small < 8) {
      if (steady_seconds() - begin > 20) throw Error("the small ones do not go on");
      std::ignore = stop_requested();
    }
    return Outcome::SUCCEEDED;
  };
  std::vector<proto::SchedulerEvent> jobs{added("long", {.priority = 1})};
  for (int i = 0; i < 8; ++i) jobs.push_back(added(str("small ", i)));
  run(2, jobs, body);
  EXPECT_EQ(states_["long"].state, JobState::kDone) << states_["long"].reason;
}

TEST_F(CrewTest, AFailureIsItsJobsAlone) {
  std::atomic<int> tries = 0;
  const auto body = [&](const std::string& job, Communicator& ranks, const std::function<bool()>&) {
    if (job == "bad" && ranks.rank() == 1) throw Error("no memory on this rank");
    if (job == "shaky" && ranks.rank() == 0 && ++tries < 3) throw Error("not yet");
    std::int64_t sum = 1;
    ranks.all_reduce(view(&sum, {1}), comm::ReduceOp::kSum).wait();
    EXPECT_EQ(sum, ranks.size());
    return Outcome::SUCCEEDED;
  };
  run(4,
      {added("bad", {.ranks = 3}), added("after bad", {.needs = {"bad"}}),
       added("shaky", {.ranks = 4, .retries = 2}), added("good", {.ranks = 4})},
      body);
  EXPECT_EQ(states_["bad"].state, JobState::kFailed);
  EXPECT_THAT(states_["bad"].reason, testing::MatchesRegex("rank [0-3]: no memory on this rank"));
  EXPECT_EQ(states_["after bad"].state, JobState::kSkipped);
  EXPECT_EQ(states_["shaky"].state, JobState::kDone);
  EXPECT_EQ(states_["shaky"].attempts, 3);
  EXPECT_EQ(states_["good"].state, JobState::kDone);
  EXPECT_EQ(done_.count("after bad"), 0U);
}

TEST_F(CrewTest, AStoppedRunGoesOnInTheNext) {
  const auto body = [&](const std::string& job, Communicator&, const std::function<bool()>&) {
    if (job != "b" || states_.contains("b")) return Outcome::SUCCEEDED;
    stop_[1] = true;
    return Outcome::STOPPED;
  };
  const std::vector<proto::SchedulerEvent> jobs{added("a", {.ranks = 0}),
                                                added("b", {.needs = {"a"}, .ranks = 0}),
                                                added("c", {.needs = {"b"}})};
  run(3, jobs, body);
  EXPECT_FALSE(all_ended_);
  EXPECT_EQ(states_["a"].state, JobState::kDone);
  EXPECT_EQ(done_.count("c"), 0U);
  stop_[1] = false;
  run(2, jobs, body);
  EXPECT_TRUE(all_ended_);
  EXPECT_EQ(done_, (std::map<std::string, int>{{"a", 3}, {"b", 3 + 2}, {"c", 1}}));
  EXPECT_EQ(states_["b"].attempts, 1);
}

/// A signal reaches one rank, at work or not; the other jobs' ranks hear of it.
TEST_F(CrewTest, AllStopWhenOneRankIsAsked) {
  for (const int asked : {0, 2, 4}) {
    SCOPED_TRACE(asked);
    std::filesystem::remove(folder_ / "journal");
    std::atomic<int> here = 0;
    const auto body = [&](const std::string&, Communicator& ranks,
                          const std::function<bool()>& stop_requested) {
      if (++here == 4) stop_[static_cast<std::size_t>(asked)] = true;
      for (;;) {
        std::int32_t stop = stop_requested() ? 1 : 0;
        ranks.all_reduce(view(&stop, {1}), comm::ReduceOp::kMax).wait();
        if (stop != 0) return Outcome::STOPPED;
      }
    };
    run(5, {added("a", {.ranks = 2}), added("b", {.ranks = 2}), added("c", {.needs = {"b"}})},
        body);
    EXPECT_FALSE(all_ended_);
    EXPECT_EQ(states_["a"].state, JobState::kRunning);  // as the next program finds it
    EXPECT_EQ(states_["c"].state, JobState::kWaiting);
    stop_[static_cast<std::size_t>(asked)] = false;
  }
}

/// A full disk under the journal, while rank 0 is at work: the run's failure, not that of the job under way.
TEST_F(CrewTest, WhatGoesWrongBetweenStepsEndsTheRun) {
  on_event_ = [](const proto::SchedulerEvent& event) {
    if (event.has_ended()) throw Error("the disk is full");
  };
  std::atomic<bool> begun = false, asked_to_stop = false;
  const auto body = [&](const std::string& job, Communicator&,
                        const std::function<bool()>& stop_requested) {
    if (job == "of rank 0") {
      begun = true;
      while (!stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      asked_to_stop = true;
      return Outcome::STOPPED;
    }
    while (!begun) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return Outcome::SUCCEEDED;
  };
  try {
    run(2, {added("of rank 1", {.priority = 2}), added("of rank 0", {.priority = 1})}, body);
    ADD_FAILURE() << "it went on";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("the disk is full"));
  }
  EXPECT_TRUE(asked_to_stop);
}

/// What a rank has that hangs, nobody can know: the run ends, for whoever begins it again.
TEST_F(CrewTest, ARankThatNeverReportsIsLost) {
  longest_silence_ = 0.05;
  std::atomic<bool> over = false;
  const auto body = [&](const std::string&, Communicator& ranks, const std::function<bool()>&) {
    if (ranks.rank() == 1) throw Error("no memory");
    while (ranks.rank() == 2 && !over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ranks.barrier().wait();
    return Outcome::SUCCEEDED;
  };
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    over = true;
  });
  try {
    run(3, {added("a", {.ranks = 0})}, body);
    ADD_FAILURE() << "nobody was missed";
  } catch (const comm::PeerFailed& failure) {
    EXPECT_EQ(failure.rank, 2);
    EXPECT_THAT(failure.what(), testing::HasSubstr("job a failed (rank 1: no memory) and rank 2"));
  }
}

TEST_F(CrewTest, RandomJobsEndWhereTheyBelong) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    std::filesystem::remove(folder_ / "journal");
    const int size = 1 + below(6);
    std::vector<proto::SchedulerEvent> jobs;
    std::set<std::string> bad;
    for (int i = 0; i < 30; ++i) {
      JobOptions options{.ranks = below(size + 1), .priority = below(3)};
      if (i > 0 && below(2) == 0) options.needs = {str("job ", below(i))};
      jobs.push_back(added(str("job ", i), options));
      if (below(6) == 0) bad.insert(str("job ", i));
    }
    const auto body = [&](const std::string& job, Communicator& ranks,
                          const std::function<bool()>&) {
      std::int64_t sum = 1;
      ranks.all_reduce(view(&sum, {1}), comm::ReduceOp::kSum).wait();
      EXPECT_EQ(sum, ranks.size());
      if (bad.contains(job) && ranks.rank() == ranks.size() / 2) throw Error("bad " + job);
      return Outcome::SUCCEEDED;
    };
    run(size, jobs, body);
    EXPECT_TRUE(all_ended_);
    for (const auto& [name, status] : states_) {
      if (status.state == JobState::kSkipped) continue;
      EXPECT_EQ(status.state == JobState::kFailed, bad.contains(name)) << name;
      if (bad.contains(name)) {
        EXPECT_THAT(status.reason, testing::EndsWith("bad " + name));
      }
    }
  }
}

}  // namespace
}  // namespace halo::launch
