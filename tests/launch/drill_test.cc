#include "launch/jobs/drill.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/error.h"
#include "launch/health/address.h"

namespace halo::launch {
namespace {

/// Whether a drill that throws does at the last of these points.
bool strikes(const std::string& text, const std::vector<ProgressPoint>& points, int rank = 1) {
  Drill drill = Drill::parse(text);
  for (std::size_t i = 0; i < points.size(); ++i) {
    try {
      drill.on_point(rank, points[i]);
    } catch (const Error&) {
      EXPECT_EQ(i + 1, points.size()) << "too early";
      return true;
    }
  }
  return false;
}

TEST(DrillTest, StrikesItsRankAtItsStepAndPlace) {
  EXPECT_TRUE(strikes("1:2:throw", {{"step", 1}, {"step", 2}}));
  EXPECT_FALSE(strikes("1:2:throw", {{"step", 1}, {"step", 2}}, /*rank=*/0));
  EXPECT_TRUE(
      strikes("1:2:throw:optimizer", {{"optimizer"}, {"step", 2}, {"forward"}, {"optimizer"}}));
  EXPECT_FALSE(strikes("1:2:throw:optimizer", {{"step", 2}, {"job_ended"}, {"optimizer"}}))
      << "that is another job's";
}

TEST(DrillTest, OutsideOfStepsItCountsHowOftenAPlaceIsPassed) {
  EXPECT_TRUE(strikes("1:0:throw:loading", {{"job"}, {"loading"}}));
  EXPECT_TRUE(strikes("1:1:throw:sweeping", {{"sweeping"}, {"sweeping"}}));
  EXPECT_TRUE(strikes("1:1:throw:job_ended", {{"job_ended"}, {"step", 1}, {"job_ended"}}));
}

TEST(DrillTest, OtherTextsAreBadInput) {
  for (const char* text :
       {"", "1", "1:2", "1:2:pinch", "-1:2:throw", "1:-2:throw", "1:2:throw:nowhere",
        "1:2:throw:step:never", "1:2:throw:step:always:x", "x:2:throw", "1: 2:throw"})
    EXPECT_THROW(std::ignore = Drill::parse(text), InputError) << text;
  EXPECT_EQ(Drill::parse("3:4:segv:backward:always").kind, Drill::Kind::kSegv);
}

TEST(DrillTest, ARestartedRunIsStruckNoMoreUnlessAskedFor) {
  setenv("HALO_DRILL", "0:1:kill", 1);
  setenv(kRestartsVariable, "0", 1);
  EXPECT_TRUE(Drill::from_environment(1).has_value());
  setenv(kRestartsVariable, "1", 1);
  EXPECT_FALSE(Drill::from_environment(1).has_value());
  setenv("HALO_DRILL", "0:1:kill:step:always", 1);
  EXPECT_TRUE(Drill::from_environment(1).has_value());
  EXPECT_TRUE(Drill::from_environment(1)->always);
  setenv("HALO_DRILL", "0:1:kill;0:2:throw:forward", 1);
  EXPECT_EQ(Drill::from_environment(1)->step, 2) << "one for each start";
  setenv(kRestartsVariable, "2", 1);
  EXPECT_FALSE(Drill::from_environment(1).has_value());
  unsetenv(kRestartsVariable);
  setenv("HALO_DRILL", "0:1:kill;1:1:kill", 1);
  EXPECT_THROW(std::ignore = Drill::from_environment(1), InputError);
  unsetenv("HALO_DRILL");
}

}  // namespace
}  // namespace halo::launch
