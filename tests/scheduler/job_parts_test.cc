#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/scheduler/job_table.h"
#include "tests/scheduler/events.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Starts what is due, and says what that was.
std::vector<std::string> start_due(JobTable& table, double now) {
  std::vector<std::string> names;
  for (const auto& event : table.due(now)) {
    table.apply(event);
    names.push_back(event.started().name());
  }
  return names;
}

TEST(JobPartsTest, AJobFailsWithItsPartsForTheirReason) {
  JobTable table;
  table.apply(began(2));
  for (const char* part : {"p0", "p1", "p2"})
    table.apply(added(part, {.retries = 1, .part_of = "whole"}));
  table.apply(added("whole", {.needs = {"p0", "p1", "p2"}}));
  table.apply(added("next", {.needs = {"whole"}}));
  EXPECT_THAT(start_due(table, 0), ElementsAre("p0", "p1"));
  table.apply(ended("p0", false, 1));
  EXPECT_EQ(table.job("whole").state, JobState::kWaiting) << "the part is tried again";
  EXPECT_THAT(start_due(table, 1), ElementsAre("p2"));
  table.apply(ended("p2", true, 2));
  EXPECT_THAT(start_due(table, 100), ElementsAre("p0"));
  table.apply(ended("p0", false, 101, "no luck"));
  EXPECT_EQ(table.job("whole").state, JobState::kFailed);
  EXPECT_EQ(table.job("whole").reason, "no luck");
  EXPECT_EQ(table.job("next").state, JobState::kSkipped);
  EXPECT_THAT(table.job("next").reason, HasSubstr("needs job whole, which failed"));
  table.apply(ended("p1", false, 102));
  EXPECT_EQ(table.job("p1").state, JobState::kFailed) << "a retry would be in vain";
  EXPECT_TRUE(table.all_ended());

  table.apply(began(1, 200, /*tries_failed_again=*/true));
  EXPECT_THAT(start_due(table, 200), ElementsAre("p0"));
  table.apply(ended("p0", true, 201));
  EXPECT_THAT(start_due(table, 201), ElementsAre("p1"));
  table.apply(ended("p1", true, 202));
  EXPECT_THAT(start_due(table, 202), ElementsAre("whole"));
}

TEST(JobPartsTest, PartsThatHaveNotBegunAreSkippedWithTheirJob) {
  JobTable table;
  table.apply(began(1));
  table.apply(added("p0", {.part_of = "whole"}));
  table.apply(added("p1", {.part_of = "whole"}));
  table.apply(added("whole", {.needs = {"p0", "p1"}}));
  std::ignore = start_due(table, 0);
  table.apply(ended("p0", false, 1));
  EXPECT_EQ(table.job("p1").state, JobState::kSkipped);
  EXPECT_EQ(table.job("whole").state, JobState::kFailed);
}

}  // namespace
}  // namespace halo::launch
