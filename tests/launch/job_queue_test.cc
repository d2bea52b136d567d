#include "launch/jobs/job_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// What a program of `ranks` ranks tells the scheduler of a config.
class JobQueueTest : public testing::Test {
 protected:
  void begin(const std::string& jobs, const std::set<std::string>& ended = {}, int ranks = 4,
             const std::map<std::string, ShardPlan>& plans = {}, bool hosts_lost = false) {
    proto::SchedulerEvent began;
    began.mutable_began()->set_ranks(ranks);
    began.mutable_began()->set_tries_failed_again(true);
    table_.apply(began);
    events_ = 0;
    const Config config = parse_config(jobs, "text");
    enqueue_jobs(config, job_order(config), {ended, plans, {}, hosts_lost}, table_,
                 [&](const proto::SchedulerEvent& event) {
                   table_.apply(event);
                   ++events_;
                 });
  }
  std::vector<std::string> due() const {
    std::vector<std::string> names;
    for (const auto& event : table_.due(0)) names.push_back(event.started().name());
    return names;
  }

  JobTable table_;
  int events_ = 0;
};

TEST_F(JobQueueTest, WhatIsReadByItsPathIsNeededAndReportsComeLast) {
  begin(R"(job { name: "tune" ranks: 2 train { student: "x" } }
           job { name: "write" needs: "tune" export { to: "models/h" } }
           job { name: "score" ranks: 1 evaluate { models: "models/../models/h" } }
           job { name: "report" report {} })");
  EXPECT_THAT(table_.job("score").job.needs(), ElementsAre("write"));
  EXPECT_THAT(table_.job("report").job.after(), ElementsAre("tune", "write", "score"));
  EXPECT_EQ(table_.job("write").job.ranks(), 1);
  EXPECT_THAT(due(), ElementsAre("tune"));
}

TEST_F(JobQueueTest, NoNewsIsNoEvent) {
  const std::string jobs = R"(job { name: "a" train {} } job { name: "b" needs: "a" train {} })";
  begin(jobs);
  EXPECT_EQ(events_, 2);
  begin(jobs);
  EXPECT_EQ(events_, 0);
  begin(jobs, {"a"});
  EXPECT_EQ(events_, 1);
  EXPECT_THAT(due(), ElementsAre("b"));
  begin(jobs, {"a"});
  EXPECT_EQ(events_, 0);
  begin(jobs);  // its folder is gone
  EXPECT_EQ(events_, 1);
  EXPECT_THAT(due(), ElementsAre("a"));
}

TEST_F(JobQueueTest, ARenamedJobTakesNobodyWithIt) {
  begin(R"(job { name: "a" train {} } job { name: "b" needs: "a" train {} })");
  begin(R"(job { name: "a2" train {} } job { name: "b" needs: "a2" train {} })");
  EXPECT_EQ(table_.job("a").state, JobState::kSkipped);
  EXPECT_EQ(table_.job("b").state, JobState::kWaiting);
  EXPECT_THAT(due(), ElementsAre("a2"));
}

TEST_F(JobQueueTest, AJobThatIsDoneMayHaveHadMoreRanks) {
  const std::string jobs = R"(job { name: "a" ranks: 8 train {} } job { name: "b" train {} })";
  begin(jobs, {"a"}, 4);
  EXPECT_EQ(table_.job("a").state, JobState::kDone);
  EXPECT_THAT(due(), ElementsAre("b"));
  begin(jobs, {"a", "b"}, 2);
  EXPECT_THAT(due(), IsEmpty());
  EXPECT_TRUE(table_.all_ended());
}

TEST_F(JobQueueTest, ShardsAreJobsOfOneRankBeforeTheirOwn) {
  const std::string jobs = R"(job { name: "a" train {} }
                              job { name: "s" needs: "a" ranks: 2 retries: 1 select {} })";
  begin(jobs, {"a"}, 4, {{"s", {4, {1}}}});
  EXPECT_THAT(table_.job("s").job.needs(),
              ElementsAre("a", "s.0-of-4", "s.1-of-4", "s.2-of-4", "s.3-of-4"));
  EXPECT_EQ(table_.job("s").job.ranks(), 1);
  EXPECT_EQ(table_.job("s.1-of-4").state, JobState::kDone);
  EXPECT_EQ(table_.job("s.3-of-4").job.retries(), 1);
  EXPECT_THAT(due(), ElementsAre("s.0-of-4", "s.3-of-4")) << "two at once: 2 comes after 0";
  begin(jobs, {"a"}, 4, {{"s", {4, {1}}}});
  EXPECT_EQ(events_, 0);
  begin(jobs, {"a"}, 4, {{"s", {1, {}}}});  // begun anew in another way
  EXPECT_THAT(due(), ElementsAre("s.0-of-1"));
  EXPECT_EQ(table_.job("s.2-of-4").state, JobState::kSkipped);
  begin(jobs, {"a", "s"}, 4);
  EXPECT_TRUE(table_.all_ended());
}

TEST_F(JobQueueTest, NamesOfShardsCanBeRead) {
  const ScheduledName name = parse_scheduled_name("s-1.3-of-32");
  EXPECT_EQ(name.job, "s-1");
  EXPECT_EQ(name.shard, (method::SweepShard{3, 32}));
  EXPECT_EQ(to_string(name), "s-1.3-of-32");
  EXPECT_FALSE(parse_scheduled_name("s").shard);
  for (const char* bad : {"s.", "s.3", "s.3-of-3", "s.-1-of-3", "s.03-of-4", "s.1-of-2x"})
    EXPECT_THROW(std::ignore = parse_scheduled_name(bad), Error) << bad;
}

/// Each job takes what its layout can use of the ranks that are left; one that none are enough for fails alone, until they
/// are back.
TEST_F(JobQueueTest, WhenHostsAreLostJobsShrinkOrFailAlone) {
  const std::string jobs = R"(job { name: "data" ranks: 8 train {} }
    job { name: "split" ranks: 8 layout { tensor: 4 } train {} }
    job { name: "wide" ranks: 8 layout { pipeline: 2 tensor: 4 } train {} }
    job { name: "after" needs: "wide" train {} }
    job { name: "small" ranks: 2 train {} })";
  begin(jobs, {}, 8);
  begin(jobs, {}, 6, {}, /*hosts_lost=*/true);
  EXPECT_EQ(table_.job("data").job.ranks(), 6);
  EXPECT_EQ(table_.job("split").job.ranks(), 4);
  EXPECT_EQ(table_.job("small").job.ranks(), 2);
  EXPECT_EQ(table_.job("wide").state, JobState::kFailed);
  EXPECT_THAT(table_.job("wide").reason,
              testing::AllOf(testing::HasSubstr("6 ranks are left of the 8 that it asks for"),
                             testing::HasSubstr("needs a multiple of 8")));
  EXPECT_EQ(table_.job("after").state, JobState::kSkipped);
  EXPECT_THAT(due(), ElementsAre("small", "split"));
  begin(jobs, {}, 8, {}, /*hosts_lost=*/true);
  EXPECT_EQ(table_.job("data").job.ranks(), 8);
  EXPECT_EQ(table_.job("wide").state, JobState::kWaiting);
  EXPECT_EQ(table_.job("after").state, JobState::kWaiting);
  EXPECT_THROW(begin(jobs, {}, 6), InputError) << "of a first start";
}

TEST_F(JobQueueTest, WhoFailedBeforeADecidedRungHasFailedAtEveryStart) {
  proto::SchedulerEvent began;
  began.mutable_began()->set_ranks(2);
  table_.apply(began);
  const Config config =
      parse_config(R"(job { name: "a" train {} } job { name: "b" train {} })", "text");
  enqueue_jobs(
      config, job_order(config),
      {{}, {}, {{"a", {10, false, "its loss is not finite"}}, {"b", {10, true, ""}}}, false},
      table_, [&](const proto::SchedulerEvent& event) { table_.apply(event); });
  EXPECT_EQ(table_.job("a").state, JobState::kFailed);
  EXPECT_EQ(table_.job("a").reason, "its loss is not finite");
  EXPECT_EQ(table_.job("b").state, JobState::kDone) << "others were better";
}

TEST_F(JobQueueTest, RanksAreThoseThereAreOrFewer) {
  const auto ranks = [](const std::string& text) {
    return ranks_of_job(parse_config("job {" + text + "}", "text").job(0), 6);
  };
  EXPECT_EQ(ranks("train {}"), 6);
  EXPECT_EQ(ranks("ranks: 2 train {}"), 2);
  EXPECT_EQ(ranks("evaluate {}"), 6);
  EXPECT_EQ(ranks("export {}"), 1);
  EXPECT_EQ(ranks("report {}"), 1);
  EXPECT_EQ(ranks("ranks: 3 select {}"), 1);
  EXPECT_THROW(std::ignore = ranks("ranks: 7 train {}"), InputError);
}

}  // namespace
}  // namespace halo::launch
