// Steps that are not finite in whole runs: computed once more, skipped, rolled back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "launch/metrics.h"
#include "tests/runs/guard_case.h"

namespace halo::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(GuardTest, APassingFaultOnOneRankLeavesNoTrace) {
  const ResumeCase resume(5);
  std::ignore = resume.run(2, "unbroken");
  EXPECT_THAT(run_with_nan(resume, "1:3", 2, "broken"),
              AllOf(HasSubstr("step 3: loss "), HasSubstr("(not finite: 1 gradient of rank 1)"),
                    HasSubstr("computed once more"), HasSubstr("a passing fault")));
  resume.expect_equal("broken", "unbroken");
  expect_skipped(resume, "broken", {});
}

/// The run that skips the same steps one by one has the same weights.
TEST(GuardTest, ThreeBadStepsInARowGoBackToACheckpoint) {
  const ResumeCase resume(14);  // a checkpoint of step 7
  const std::string skipping = run_with_nan(resume, "0:7:4", 2, "skipped", kNoRollback);
  EXPECT_THAT(skipping, AllOf(HasSubstr("the step is skipped, 4 in a row"), HasSubstr("finetune")));
  expect_skipped(resume, "skipped", {{7, 11}});
  EXPECT_THAT(run_with_nan(resume, "0:8:3", 2, "back"),
              AllOf(HasSubstr("steps 7 to 10 are left out"),
                    HasSubstr("the weights of the checkpoint after step 7")));
  expect_skipped(resume, "back", {{7, 11}});
  resume.expect_equal("back", "skipped");

  // Asked to stop in the step that goes back, the run does not read its models again to do it.
  std::string stopped;
  {
    const Environment drill("HALO_DRILL", "0:10:term");
    stopped = run_with_nan(resume, "0:8:3", 2, "stopped");
  }
  EXPECT_THAT(stopped, AllOf(HasSubstr("stopped as asked before the end of job align"),
                             Not(HasSubstr("are left out"))));
  EXPECT_THAT(run_with_nan(resume, "0:8:3", 2, "stopped"), HasSubstr("steps 7 to 10 are left out"));
  resume.expect_equal("stopped", "skipped");
}

TEST(GuardTest, TheLastStepIsValidatedWhenTheJobGoesBackInIt) {
  const ResumeCase resume(10);
  const std::string validation =
      str("train.validation={tokens: '", resume.tokens().string(), "' sequences: 2}");
  std::ignore = run_with_nan(resume, "0:7:3", 0, "back", {"--set", validation});
  for (const char* job : kStages) {
    const auto steps = launch::read_metrics(resume.job("back", job) / "metrics.jsonl");
    ASSERT_EQ(steps.size(), 10U);
    EXPECT_TRUE(steps[9].skipped);
    ASSERT_TRUE(steps[9].validation_loss.has_value()) << job;
    EXPECT_GT(*steps[9].validation_loss, 0.0) << job;
  }
}

TEST(GuardTest, WeightsThatAreNeverFiniteEndTheJob) {
  const ResumeCase resume(40);
  const Environment nan("HALO_DRILL_NAN", "0:3:100");
  const ProgramResult result = run_program(resume.command(0, "out"));
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("the weights of the beginning"), HasSubstr("steps 6 to 8, in a row"),
                    HasSubstr("Lower train.optimizer.lr or look at the data")));
}

TEST(GuardTest, ADrillThatCannotBeIsBadInput) {
  const ResumeCase resume(2);
  for (const char* drill : {"1:2:0", "0:1:2:3", "7:1"}) {
    const Environment nan("HALO_DRILL_NAN", drill);
    const ProgramResult result = run_program(resume.command(0, "out"));
    EXPECT_EQ(result.exit_code, 2) << drill << '\n' << result.output;
    EXPECT_THAT(result.output, HasSubstr(str("HALO_DRILL_NAN=", drill, ": ")));
  }
}

}  // namespace
}  // namespace halo::test
