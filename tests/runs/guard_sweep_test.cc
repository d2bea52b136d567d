// More of what guard_test.cc begins: runs that are killed, first weights, the last steps, a pipeline.
#include <gtest/gtest.h>

#include "tests/runs/guard_case.h"

namespace halo::test {
namespace {

/// It ends in the middle of a row of bad steps, behind a checkpoint in the row, and once more behind the rollback.
TEST(GuardSweepTest, AKilledRunGoesBackAsTheUnbrokenOne) {
  const ResumeCase resume(
      16, {"--set", "train.checkpoint.every_steps=2", "--set", "train.checkpoint.keep_last=1"});
  std::ignore = run_with_nan(resume, "1:9:3", 2, "unbroken");
  expect_skipped(resume, "unbroken", {{8, 12}});
  const Environment nan("HALO_DRILL_NAN", "1:9:3");
  for (const char* drill : {"0:11:throw", "1:13:throw"}) {
    const Environment death("HALO_DRILL", drill);
    EXPECT_EQ(run_program(resume.command(2, "killed")).exit_code, 1);
  }
  std::ignore = resume.run(2, "killed");
  expect_skipped(resume, "killed", {{8, 12}});
  resume.expect_equal("killed", "unbroken");
}

TEST(GuardSweepTest, WithoutACheckpointTheFirstWeightsComeBack) {
  const ResumeCase resume(9, {"--set", "train.checkpoint.every_steps=0"});
  std::ignore = run_with_nan(resume, "1:0:5", 2, "skipped", kNoRollback);
  std::ignore = run_with_nan(resume, "1:2:3", 2, "back");
  expect_skipped(resume, "back", {{0, 5}});
  resume.expect_equal("back", "skipped");
}

/// The last steps are bad: what a rollback leaves is the job's result.
TEST(GuardSweepTest, ARollbackAtTheEndEndsTheJob) {
  const ResumeCase resume(9);
  std::ignore = run_with_nan(resume, "0:7:2", 2, "skipped", kNoRollback);
  std::ignore = run_with_nan(resume, "0:7:2", 2, "back", {"--set", "train.guard.rollback_after=2"});
  expect_skipped(resume, "back", {{7, 9}});
  resume.expect_equal("back", "skipped");
}

TEST(GuardSweepTest, APassingFaultLeavesNoTraceOnAPipeline) {
  const ResumeCase resume(5,
                          {"--set", "layout.pipeline=2", "--set", "train.batch.micro_sequences=1"});
  std::ignore = resume.run(2, "unbroken");
  std::ignore = run_with_nan(resume, "0:3", 2, "broken");
  resume.expect_equal("broken", "unbroken");
}

}  // namespace
}  // namespace halo::test
