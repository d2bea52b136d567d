// halo_train --bench: steps of a config's training jobs without their data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/file.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

using testing::HasSubstr;

class JobBenchTest : public testing::Test {
 protected:
  ProgramResult bench(int ranks, const std::vector<std::string>& more) const {
    std::vector<std::string> arguments{"--config", golden_.config().string(),
                                       "--output", (folder_ / "run").string(),
                                       "--bench",  "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(train_command(ranks, arguments));
  }

  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

TEST_F(JobBenchTest, MeasuresEachTrainingJobAndLeavesNothing) {
  const ProgramResult result = bench(2, {"--set", "layout.context=2"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  for (const char* job : {"align", "distill", "finetune"})
    EXPECT_THAT(result.output, testing::ContainsRegex(str(job, " +context=2 +[0-9]+ ")));
  EXPECT_THAT(result.output, HasSubstr("measured"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(JobBenchTest, PlansForAMachineThatIsNamed) {
  const ProgramResult result = bench(0, {"--machine", "h100", "--bench_job", "distill"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("plans are for h100"));
  EXPECT_THAT(result.output, testing::Not(HasSubstr("finetune")));
}

TEST_F(JobBenchTest, WhatCannotBeMeasuredIsBadInput) {
  ProgramResult result = bench(2, {"--set", "layout.tensor=3"});
  EXPECT_EQ(result.exit_code, 2);
  result = bench(0, {"--machine", "nowhere"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("nowhere"));
  write_file_atomically(folder_ / "select.textproto", "job { name: \"r\" report {} }");
  result = run_program(
      train_command(0, {"--config", (folder_ / "select.textproto").string(), "--bench", "1"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("no training job"));
}

}  // namespace
}  // namespace halo::test
