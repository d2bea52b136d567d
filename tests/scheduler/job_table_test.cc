#include "launch/scheduler/job_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "core/base/error.h"
#include "tests/scheduler/events.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> names_of(const std::vector<proto::SchedulerEvent>& events) {
  std::vector<std::string> names;
  for (const auto& event : events) names.push_back(event.started().name());
  return names;
}
std::vector<int> ranks_of(const proto::SchedulerEvent& event) {
  return {event.started().rank().begin(), event.started().rank().end()};
}
/// Starts what is due, and says what that was.
std::vector<std::string> start_due(JobTable& table, double now) {
  const auto events = table.due(now);
  for (const auto& event : events) table.apply(event);
  return names_of(events);
}

TEST(JobTableTest, NeedsAndPrioritiesAreRespected) {
  JobTable table;
  table.apply(began(2));
  table.apply(added("align"));
  table.apply(added("select", {.needs = {"align"}}));
  table.apply(added("low"));
  table.apply(added("high", {.priority = 3}));
  EXPECT_THAT(start_due(table, 1), ElementsAre("high", "align"));
  EXPECT_THAT(start_due(table, 2), IsEmpty());
  table.apply(ended("align", true, 3));
  EXPECT_THAT(start_due(table, 3), ElementsAre("select"));
  table.apply(ended("high", true, 4));
  table.apply(ended("select", true, 4));
  EXPECT_THAT(start_due(table, 4), ElementsAre("low"));
  EXPECT_FALSE(table.all_ended());
  table.apply(ended("low", true, 5));
  EXPECT_TRUE(table.all_ended());
}

TEST(JobTableTest, RanksAreNeighboursWhereTheyCanBe) {
  JobTable table;
  table.apply(began(8));
  for (const char* name : {"a", "b", "c", "d"}) table.apply(added(name, {.ranks = 2}));
  EXPECT_THAT(start_due(table, 0), ElementsAre("a", "b", "c", "d"));
  table.apply(ended("a", true, 1));
  table.apply(ended("c", true, 1));
  table.apply(ended("d", true, 1));  // b has 4 5; free: 6 7, 0 1 2 3
  table.apply(added("two", {.ranks = 2}, 1));
  table.apply(added("four", {.ranks = 4}, 1));
  const auto due = table.due(1);
  ASSERT_EQ(due.size(), 2U);
  EXPECT_THAT(ranks_of(due[0]), ElementsAre(6, 7));  // the smallest run that is long enough
  EXPECT_THAT(ranks_of(due[1]), ElementsAre(0, 1, 2, 3));
  table.apply(added("scattered", {.ranks = 6, .priority = 1}, 1));
  ASSERT_EQ(table.due(1).size(), 1U);
  EXPECT_THAT(ranks_of(table.due(1)[0]), ElementsAre(0, 1, 2, 3, 6, 7));
  table.apply(started("scattered", {0, 1, 2, 3, 6, 7}, 1));
  table.apply(ended("scattered", true, 2));
  table.apply(added("one", {.priority = 2}, 2));
  EXPECT_THAT(ranks_of(table.due(2)[0]), ElementsAre(7)) << "rank 0 has enough to do";
}

TEST(JobTableTest, AFailedJobIsTriedAgainLaterAndThenTakesOthersWithIt) {
  JobTable table({.backoff = 10, .most_backoff = 15});
  table.apply(began(1));
  table.apply(added("a", {.retries = 2}));
  table.apply(added("b", {.needs = {"a"}}));
  table.apply(added("c", {.needs = {"b"}}));
  EXPECT_THAT(start_due(table, 0), ElementsAre("a"));
  table.apply(ended("a", false, 1));
  EXPECT_THAT(start_due(table, 10.9), IsEmpty());
  EXPECT_EQ(table.next_due(2), 11);
  EXPECT_THAT(start_due(table, 11), ElementsAre("a"));
  table.apply(ended("a", false, 12));
  EXPECT_EQ(table.next_due(12), 27);  // not 32: the longest backoff
  EXPECT_THAT(start_due(table, 27), ElementsAre("a"));
  table.apply(ended("a", false, 28, "out of memory"));
  EXPECT_EQ(table.job("a").state, JobState::kFailed);
  EXPECT_EQ(table.job("a").reason, "out of memory");
  EXPECT_EQ(table.job("b").reason, "needs job a, which failed");
  EXPECT_EQ(table.job("c").reason, "needs job b, which was skipped");
  EXPECT_TRUE(table.all_ended());
  table.apply(added("late", {.needs = {"c"}}, 29));
  EXPECT_EQ(table.job("late").state, JobState::kSkipped);
  EXPECT_TRUE(std::isinf(table.next_due(30)));
}

TEST(JobTableTest, SmallJobsDoNotHoldALargeOneUpForEver) {
  JobTable table({.patience = 60});
  table.apply(began(4));
  table.apply(added("first", {.ranks = 3}));
  EXPECT_THAT(start_due(table, 0), ElementsAre("first"));
  table.apply(added("large", {.ranks = 4}, 1));
  table.apply(added("small", {}, 1));
  table.apply(added("smaller", {}, 1));
  EXPECT_THAT(start_due(table, 1), ElementsAre("small"));
  table.apply(ended("small", true, 61));
  EXPECT_THAT(start_due(table, 61), IsEmpty());  // its patience is at an end
  table.apply(ended("first", true, 70));
  EXPECT_THAT(start_due(table, 70), ElementsAre("large"));
  table.apply(ended("large", true, 80));
  EXPECT_THAT(start_due(table, 80), ElementsAre("smaller"));
}

TEST(JobTableTest, AnInterruptedRunUsesNoRetry) {
  JobTable table;
  table.apply(began(2));
  table.apply(added("a"));
  table.apply(added("b"));
  std::ignore = start_due(table, 0);
  table.apply(ended("b", true, 4));
  table.apply(began(2, 1000));
  EXPECT_EQ(table.job("a").state, JobState::kWaiting);
  EXPECT_EQ(table.job("a").attempts, 0);
  EXPECT_EQ(table.free_ranks(), 2);
  EXPECT_THAT(start_due(table, 1000), ElementsAre("a"));
  table.apply(ended("a", true, 1001));
  EXPECT_EQ(table.job("a").attempts, 1);
}

TEST(JobTableTest, ALaterRunMayHaveOtherRanksAndJobs) {
  JobTable table;
  table.apply(began(4));
  table.apply(added("all", {.ranks = 0}));
  table.apply(added("bad"));
  table.apply(added("after", {.needs = {"bad"}}));
  table.apply(added("gone"));
  table.apply(added("after gone", {.needs = {"gone"}}));
  table.apply(started("all", {0, 1, 2, 3}));
  table.apply(began(2, 5));
  table.apply(withdrawn("gone", 5));
  EXPECT_EQ(table.job("gone").reason, "the config has it no more");
  EXPECT_EQ(table.job("after gone").reason, "needs job gone, which was skipped");
  const auto due = table.due(6);
  ASSERT_EQ(due.size(), 1U);
  EXPECT_THAT(ranks_of(due[0]), ElementsAre(0, 1));
  table.apply(due[0]);
  table.apply(ended("all", true, 7));
  EXPECT_THAT(start_due(table, 7), ElementsAre("bad"));
  table.apply(ended("bad", false, 8));
  table.apply(began(2, 9));
  EXPECT_TRUE(table.all_ended());
  table.apply(began(2, 10, /*tries_failed_again=*/true));
  EXPECT_THAT(start_due(table, 10), ElementsAre("bad", "gone"));
}

TEST(JobTableTest, AfterMeansWellOrNot) {
  JobTable table;
  table.apply(began(4));
  table.apply(added("bad"));
  table.apply(added("needs bad", {.needs = {"bad"}}));
  table.apply(added("good"));
  table.apply(added("report", {.after = {"bad", "needs bad", "good"}}));
  EXPECT_THAT(start_due(table, 0), ElementsAre("bad", "good"));
  table.apply(ended("bad", false, 1));
  EXPECT_THAT(start_due(table, 1), IsEmpty());
  table.apply(ended("good", true, 2));
  EXPECT_THAT(start_due(table, 2), ElementsAre("report"));
}

TEST(JobTableTest, BadInputIsNotTriedAgain) {
  JobTable table;
  table.apply(began(1));
  table.apply(added("a", {.retries = 5}));
  std::ignore = start_due(table, 0);
  proto::SchedulerEvent event = ended("a", false, 1);
  event.mutable_ended()->set_is_bad_input(true);
  table.apply(event);
  EXPECT_EQ(table.job("a").state, JobState::kFailed);
  EXPECT_TRUE(table.job("a").is_bad_input);
  table.apply(began(1, 2, /*tries_failed_again=*/true));
  EXPECT_FALSE(table.job("a").is_bad_input);
}

TEST(JobTableTest, ALaterConfigMaySayOtherThingsOfAJob) {
  JobTable table;
  table.apply(began(4));
  table.apply(added("a", {.ranks = 4}));
  table.apply(added("b", {.needs = {"a"}}));
  table.apply(added("c", {.needs = {"b"}}));
  table.apply(began(2, 1));
  EXPECT_THAT(table.due(1), IsEmpty());
  table.apply(added("a", {.ranks = 2}, 1));
  EXPECT_THAT(start_due(table, 1), ElementsAre("a"));
  table.apply(ended("a", true, 2));
  table.apply(added("a", {.is_done = true}, 2));  // no news
  EXPECT_EQ(table.job("a").state, JobState::kDone);
  table.apply(added("d", {.is_done = true}, 2));
  table.apply(added("b", {.needs = {"a", "d"}}, 2));  // now behind c, which needs it
  EXPECT_THAT(start_due(table, 2), ElementsAre("b"));
  table.apply(added("a", {}, 3));  // once more
  EXPECT_EQ(table.job("a").state, JobState::kWaiting);
  EXPECT_EQ(table.job("a").attempts, 0);
  table.apply(ended("b", true, 3));
  EXPECT_THAT(start_due(table, 3), ElementsAre("c", "a"));
  table.apply(ended("a", false, 4));
  table.apply(added("b", {.needs = {"a"}}, 4));
  EXPECT_EQ(table.job("b").state, JobState::kSkipped);
}

TEST(JobTableTest, WhatNeedsASkippedJobIsSkippedWhateverTheOrder) {
  JobTable table;
  table.apply(began(1));
  table.apply(added("a"));
  table.apply(added("b", {.needs = {"a"}}));
  table.apply(added("c", {.needs = {"b"}}));
  table.apply(added("b", {.needs = {"a"}, .priority = 1}));
  std::ignore = start_due(table, 0);
  table.apply(ended("a", false, 1));
  EXPECT_EQ(table.job("b").state, JobState::kSkipped);
  EXPECT_EQ(table.job("c").state, JobState::kSkipped);
}

TEST(JobTableTest, IdleTimeIsWhatNoJobUsed) {
  JobTable table;
  table.apply(began(4));
  table.apply(added("a", {.ranks = 3}));
  table.apply(started("a", {0, 1, 3}, 10));
  EXPECT_DOUBLE_EQ(table.idle_share(20), 0.25);
  table.apply(ended("a", true, 20));
  EXPECT_DOUBLE_EQ(table.idle_share(30), 1 - 30.0 / 80);
  EXPECT_EQ(JobTable().idle_share(5), 0);
}

TEST(JobTableTest, RefusesWhatCannotBe) {
  JobTable table;
  table.apply(began(2));
  table.apply(added("a", {.ranks = 2}));
  const auto refuses = [&](const proto::SchedulerEvent& event, const std::string& words) {
    try {
      table.apply(event);
      ADD_FAILURE() << words;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(words));
    }
  };
  refuses(added("b", {.after = {"c"}}), "comes after job c, which was not added before it");
  refuses(added(""), "no name");
  refuses(added("b", {.needs = {"c"}}), "needs job c, which was not added before it");
  refuses(added("b", {.needs = {"b"}}), "needs job b, which was not added before it");
  refuses(added("b", {.ranks = 3}), "it needs 3 ranks of 2");
  refuses(added("b", {.ranks = -1}), "it needs -1 ranks of 2");
  refuses(added("b", {.retries = -1}), "-1 retries");
  refuses(started("b", {0}), "knows no job b");
  refuses(started("a", {0}), "wants 2 ranks and gets 1");
  refuses(started("a", {0, 2}), "rank 2 of 2");
  refuses(ended("a", true), "ends and is waiting");
  refuses(proto::SchedulerEvent(), "is none");
  refuses(began(0), "a run of 0 ranks");
  refuses(withdrawn("b"), "knows no job b");
  table.apply(started("a", {0, 1}));
  refuses(added("a"), "is added again while it runs");
  JobTable unbegun;
  EXPECT_THROW(unbegun.apply(added("a")), InputError);
}

/// A made-up run of jobs with random needs, ranks, lengths and failures, whose scheduler dies now and then and is made again from
/// its journal.
class RandomRun {
 public:
  explicit RandomRun(unsigned seed) : random_(seed), ranks_(1 + below(12)), table_(kPolicy) {
    happen(began(ranks_, now_));
    const int jobs = 1 + below(40);
    for (int i = 0; i < jobs; ++i) add_job(i);
  }

  void run() {
    for (int turn = 0; !table_.all_ended(); ++turn) {
      ASSERT_LT(turn, 20000) << "it does not end";
      for (const auto& event : table_.due(now_)) {
        happen(event);
        ends_[event.started().name()] = now_ + 1 + below(50);
      }
      check();
      step();
    }
    EXPECT_TRUE(running().empty());
    for (const JobStatus* status : table_.jobs()) {
      EXPECT_LE(status->attempts, status->job.retries() + 1);
      EXPECT_EQ(status->state == JobState::kDone, successes_.contains(status->job.name()));
    }
    EXPECT_EQ(table_.jobs().size(), names_.size());
  }

 private:
  static constexpr SchedulerPolicy kPolicy{.backoff = 3, .most_backoff = 20, .patience = 30};

  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  void add_job(int i) {
    JobOptions options{.ranks = 1 + below(ranks_), .priority = below(3), .retries = below(3)};
    for (const std::string& name : names_)
      if (below(6) == 0) (below(2) == 0 ? options.needs : options.after).push_back(name);
    names_.push_back(str("job ", i));
    happen(added(names_.back(), options, now_));
  }
  void happen(const proto::SchedulerEvent& event) {
    table_.apply(event);
    journal_.push_back(event);
  }
  /// To the next end of a job, or what else is next; or the scheduler dies.
  void step() {
    if (below(15) == 0) {
      now_ += below(100);
      happen(began(ranks_, now_));
      ends_.clear();
      table_ = JobTable(kPolicy);
      for (const auto& event : journal_) table_.apply(event);
      return;
    }
    const auto first =
        std::ranges::min_element(ends_, {}, [](const auto& end) { return end.second; });
    if (first == ends_.end()) {
      now_ = table_.next_due(now_);
      ASSERT_FALSE(std::isinf(now_)) << "jobs wait for nothing";
      return;
    }
    now_ = std::max(now_, first->second);
    const std::string name = first->first;
    ends_.erase(first);
    const bool succeeds = below(4) != 0;
    if (succeeds) successes_.insert(name);
    happen(ended(name, succeeds, now_));
  }
  std::vector<const JobStatus*> running() {
    std::vector<const JobStatus*> all;
    for (const JobStatus* status : table_.jobs())
      if (status->state == JobState::kRunning) all.push_back(status);
    return all;
  }
  void check() {
    std::set<int> taken;
    for (const JobStatus* status : running()) {
      EXPECT_EQ(std::ssize(status->ranks), status->job.ranks());
      for (const int rank : status->ranks)
        EXPECT_TRUE(taken.insert(rank).second) << rank << " twice";
      for (const std::string& need : status->job.needs()) EXPECT_TRUE(successes_.contains(need));
      for (const std::string& other : status->job.after())
        EXPECT_NE(table_.job(other).state, JobState::kRunning);
      EXPECT_TRUE(ends_.contains(status->job.name()));
    }
    EXPECT_EQ(table_.free_ranks(), ranks_ - std::ssize(taken));
    EXPECT_GE(table_.idle_share(now_), 0);
    EXPECT_LE(table_.idle_share(now_), 1);
  }

  std::mt19937 random_;
  int ranks_;
  JobTable table_;
  std::vector<std::string> names_;
  std::vector<proto::SchedulerEvent> journal_;
  std::map<std::string, double> ends_;
  std::set<std::string> successes_;
  double now_ = 100;
};

TEST(JobTableTest, RandomRunsEndWithEveryJobWhereItBelongs) {
  for (unsigned seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    RandomRun(seed).run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace halo::launch
