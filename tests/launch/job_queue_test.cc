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
  void begin(const std::string& jobs, const std::set<std::string>& ended = {}, int ranks = 4) {
    proto::SchedulerEvent began;
    began.mutable_began()->set_ranks(ranks);
    began.mutable_began()->set_tries_failed_again(true);
    table_.apply(began);
    events_ = 0;
    const Config config = parse_config(jobs, "text");
    enqueue_jobs(config, job_order(config), ended, {}, table_,
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

TEST_F(JobQueueTest, RanksAreThoseThereAreOrFewer) {
  const auto ranks = [](const std::string& text) {
    return ranks_of_job(parse_config("job {" + text + "}", "text").job(0), 6);
  };
  EXPECT_EQ(ranks("train {}"), 6);
  EXPECT_EQ(ranks("ranks: 2 train {}"), 2);
  EXPECT_EQ(ranks("evaluate {}"), 6);
  EXPECT_EQ(ranks("export {}"), 1);
  EXPECT_EQ(ranks("report {}"), 1);
  EXPECT_THROW(std::ignore = ranks("ranks: 7 train {}"), InputError);
}

}  // namespace
}  // namespace halo::launch
