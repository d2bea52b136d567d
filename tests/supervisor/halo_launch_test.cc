// halo_launch with real ranks: what becomes of a run some of whose ranks die, stop or get bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "core/base/file.h"
#include "tests/supervisor/supervised_run.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// One run that fails at every start but the last: each kind of failure, each place, each of two ranks. In fault_matrix_test they
/// meet in all combinations; pairwise, that are 77 failures of two seconds, is more than the default tests have time for. What is
/// thrown fails its job alone, so that it comes when the first job is done.
const std::vector<std::string> kFailures{"0:0:kill:starting",
                                         "1:0:segv:loading",
                                         "0:4:exit:forward",
                                         "1:4:abort:collective",
                                         "0:6:hang:checkpoint_manifest",
                                         "1:6:exit:checkpoint_begun",
                                         "1:6:segv:checkpoint_file",
                                         "0:6:kill:checkpoint_files",
                                         "0:6:abort:checkpoint_saved",
                                         "1:0:kill:job_ended",
                                         "1:4:throw:forward",
                                         "0:4:stop:optimizer"};

TEST(HaloLaunchTest, ARunThatFailsAgainAndAgainComesToTheSameBits) {
  const SupervisedRun run(4, 8);
  const std::string told = run.expect_survives_all("failures", kFailures,
                                                   {"--max_restarts", "100", "--hang_timeout", "4",
                                                    "--step_timeout", "8", "--phase_timeout", "8"});
  // Of the last one, which hung.
  EXPECT_THAT(told, AllOf(HasSubstr("halo_launch: no beat for 4 s: no beat any more from rank 0"),
                          HasSubstr("waits for ")));
  const fs::path log = run.resume().output("failures") / "log";
  const auto files = fs::directory_iterator(log);
  const auto report = std::find_if(begin(files), end(files), [](const auto& entry) {
    return entry.path().filename().string().starts_with("hang_");
  });
  ASSERT_NE(report, end(files));
  EXPECT_THAT(read_file(report->path()), HasSubstr("the last calls of rank 1:\n#"));
  EXPECT_THAT(read_file(log / "calls_rank1.txt"), HasSubstr(": waiting\n"))
      << "written by the rank that waits";
}

TEST(HaloLaunchTest, BadInputIsNotTriedAgain) {
  const ProgramResult result =
      run_program({program("halo_launch").string(), "--", program("halo_train").string(),
                   "--config", "/no/such"});
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("/no/such"), HasSubstr("not started again")));
}

TEST(HaloLaunchTest, WhatCannotBeRunIsSaid) {
  EXPECT_EQ(run_program({program("halo_launch").string(), "--", "/no/such/mpirun"}).exit_code, 127);
  EXPECT_EQ(run_program({program("halo_launch").string()}).exit_code, 2);
  EXPECT_EQ(run_program({program("halo_launch").string(), "--no_such", "--", "true"}).exit_code, 2);
  EXPECT_EQ(run_program({program("halo_launch").string(), "--", "true"}).exit_code, 0);
}

TEST(HaloLaunchTest, AFailureThatComesAgainAndAgainIsGivenUp) {
  const ProgramResult result =
      run_program({program("halo_launch").string(), "--max_restarts", "2", "--backoff", "0.01",
                   "--", "sh", "-c", "echo start; exit 5"});
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("given up after 2 restarts"), HasSubstr("code 5")));
}

/// A batch system's signal: the ranks save, and the same command goes on.
TEST(HaloLaunchTest, AskedToStopItSavesAndEndsWell) {
  const ResumeCase resume(2000);
  std::vector<std::string> command{program("halo_launch").string(), "--"};
  for (const std::string& word : resume.command(2, "out")) command.push_back(word);
  const TestFolder folder;
  RunningProgram launch(command, folder / "output");
  const fs::path metrics = resume.job("out", "align") / "metrics.jsonl";
  while (!launch.has_ended() && !(fs::exists(metrics) && fs::file_size(metrics) > 0))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  launch.signal(SIGTERM);
  const ProgramResult result = launch.wait();
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("asked to stop"), HasSubstr("; the same command goes on"),
                    Not(HasSubstr("; restart"))));
  EXPECT_FALSE(fs::is_empty(resume.job("out", "align") / "checkpoints"));
}

}  // namespace
}  // namespace halo::test
