// One rank fails in the middle of a run: all end with its cause, and what the others asked of each other last is there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "core/base/file.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FailedPeerTest : public testing::Test {
 protected:
  /// The golden stages on four ranks with a drill, which must end within seconds.
  ProgramResult run(const char* drill, const std::vector<std::string>& layout) {
    std::vector<std::string> arguments{"--config", golden_.config().string(),
                                       "--output", (folder_ / "out").string(),
                                       "--set",    "train.steps=2"};
    for (const std::string& field : layout) arguments.insert(arguments.end(), {"--set", field});
    setenv("HALO_DRILL", drill, 1);
    const auto begin = std::chrono::steady_clock::now();
    ProgramResult result = run_program(train_command(4, arguments));
    unsetenv("HALO_DRILL");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30)) << result.output;
    EXPECT_NE(result.exit_code, 0);
    return result;
  }
  [[nodiscard]] fs::path calls_of(int rank) const {
    return folder_ / str("out/log/calls_rank", rank, ".txt");
  }

  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

TEST_F(FailedPeerTest, EverySurvivingRankLeavesItsLastCalls) {
  const ProgramResult result = run("1:1:throw", {});
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output,
              HasSubstr("error: job align: rank 1: a drill: HALO_DRILL asks rank 1"));
  for (const int rank : {0, 2, 3}) {
    ASSERT_TRUE(fs::exists(calls_of(rank))) << rank << '\n' << result.output;
    // Those of the first step, and the one that its peer never came to.
    EXPECT_THAT(
        read_file(calls_of(rank)),
        testing::AllOf(HasSubstr("all_reduce"), HasSubstr(": done\n"), HasSubstr(": failed\n")));
  }
  EXPECT_TRUE(fs::exists(calls_of(1))) << "of the rank that failed too";
}

TEST_F(FailedPeerTest, RanksThatWaitForOthersThanTheFailedOneEndToo) {
  const ProgramResult result = run("3:0:throw", {"layout.pipeline=2", "layout.context=2"});
  EXPECT_THAT(result.output,
              HasSubstr("error: job align: rank 3: a drill: HALO_DRILL asks rank 3"));
}

TEST_F(FailedPeerTest, ACrashEndsAllAndIsNamed) {
  const ProgramResult result = run("2:1:abort", {"layout.pipeline=2", "layout.tensor=2"});
  EXPECT_THAT(result.output, HasSubstr("signal 6 (Aborted)"));
}

TEST_F(FailedPeerTest, ADrillThatCannotBeIsBadInput) {
  const ProgramResult result = run("1:throw", {});
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("HALO_DRILL=1:throw: expected RANK:STEP:KIND"));
  const ProgramResult missing = run("64:1:throw", {});
  EXPECT_EQ(missing.exit_code, 2) << missing.output;
  EXPECT_THAT(missing.output, HasSubstr("HALO_DRILL=64:1:throw: there are"));
}

}  // namespace
}  // namespace halo::test
