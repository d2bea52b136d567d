// Steps that are not finite in whole runs: computed once more, skipped, rolled back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runs/guard_case.h"

namespace halo::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

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
