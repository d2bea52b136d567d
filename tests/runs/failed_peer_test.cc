// One rank fails in the middle of a run: what the others asked of each other last is there for whoever looks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/file.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// halo_train on three ranks whose arguments may differ, as after a mistake on one host.
std::vector<std::string> on_three_ranks(const std::vector<std::string>& arguments,
                                        const std::vector<std::string>& only_rank_1) {
  std::vector<std::string> command{"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to",
                                   "none"};
  for (int rank = 0; rank < 3; ++rank) {
    if (rank > 0) command.emplace_back(":");
    const std::vector<std::string> alone = train_command(0, arguments);
    command.insert(command.end(), {"-np", "1"});
    command.insert(command.end(), alone.begin(), alone.end());
    if (rank == 1) command.insert(command.end(), only_rank_1.begin(), only_rank_1.end());
  }
  return command;
}

TEST(FailedPeerTest, EverySurvivingRankLeavesItsLastCalls) {
  const TestFolder folder;
  const GoldenCase golden("tied", folder.path());
  const std::string empty = (folder / "empty").string();  // fails only when its weights are read
  fs::create_directories(empty);
  fs::copy(golden.teacher() / "config.json", empty);
  const ProgramResult result =
      run_program(on_three_ranks({"--config", golden.config().string(), "--output",
                                  (folder / "out").string(), "--set", "train.steps=2"},
                                 {"--set", "job[1].train.teacher=" + empty}));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr(empty));
  EXPECT_TRUE(fs::exists(folder / "out/align/summary.json")) << "the first job has ended";
  for (const int rank : {0, 2}) {
    const fs::path calls = folder / str("out/log/calls_rank", rank, ".txt");
    ASSERT_TRUE(fs::exists(calls)) << calls << '\n' << result.output;
    // Those of the first job, and the one that its peer never came to.
    EXPECT_THAT(read_file(calls), testing::AllOf(HasSubstr("all_reduce"), HasSubstr(": done\n"),
                                                 HasSubstr(": failed\n")));
  }
  EXPECT_FALSE(fs::exists(folder / "out/log/calls_rank1.txt")) << "it knows its own failure";
}

}  // namespace
}  // namespace halo::test
