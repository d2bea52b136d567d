// A run that is stopped, killed or damaged goes on to the unbroken run's numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "tests/runs/resume_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::int64_t kSteps = 24;

class StopTest : public testing::TestWithParam<int> {};

TEST_P(StopTest, ARunStoppedInEveryStageGoesOnToTheSameBits) {
  const int ranks = GetParam();
  const ResumeCase resume(kSteps);
  std::ignore = resume.run(ranks, "unbroken");
  int stops = 0;
  stops += resume.stop(ranks, "stopped", "align", 1);
  stops += resume.stop(ranks, "stopped", "align", 9, /*one_rank=*/true);
  stops += resume.stop(ranks, "stopped", "distill", 3);
  stops += resume.stop(ranks, "stopped", "finetune", 5, /*one_rank=*/true);
  EXPECT_GE(stops, 3) << "the signals came too late";
  std::ignore = resume.run(ranks, "stopped");
  resume.expect_equal("stopped", "unbroken");
}

INSTANTIATE_TEST_SUITE_P(Ranks, StopTest, testing::Values(0, 2, 3));

class KillTest : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(KillTest, AKilledRunGoesOnToTheSameBits) {
  const auto [ranks, one_rank] = GetParam();
  expect_equal_after_kills(ResumeCase(kSteps), {ranks, one_rank, /*seed=*/11, /*tries=*/4});
}

INSTANTIATE_TEST_SUITE_P(Ranks, KillTest,
                         testing::Values(std::tuple(0, false), std::tuple(2, true)));

TEST(ResumeTest, OtherNumbersOfRanksGoOnToTheSameNumbers) {
  const ResumeCase resume(kSteps);
  std::ignore = resume.run(0, "unbroken");
  EXPECT_TRUE(resume.stop(2, "moved", "align", 2));
  EXPECT_TRUE(resume.stop(3, "moved", "distill", 2));
  EXPECT_TRUE(resume.stop(0, "moved", "finetune", 2));
  std::ignore = resume.run(4, "moved");
  resume.expect_equal("moved", "unbroken", 1e-9);
}

TEST(ResumeTest, ATornLineAndADamagedCheckpointFallBackToTheOneBefore) {
  const ResumeCase resume(9);
  std::ignore = resume.run(0, "unbroken");
  std::ignore = resume.run(0, "damaged");
  const fs::path job = resume.job("damaged", "finetune");
  fs::remove(job / "summary.json");
  const std::string metrics = read_file(job / "metrics.jsonl");
  write_file_atomically(job / "metrics.jsonl", metrics.substr(0, metrics.size() - 30));
  for (const auto& entry : fs::directory_iterator(job / "checkpoints/step_00000009")) {
    if (entry.path().extension() != ".h5") continue;
    std::string bytes = read_file(entry.path());
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
    write_file_atomically(entry.path(), bytes);
  }
  const std::string output = resume.run(2, "damaged");
  EXPECT_THAT(output, AllOf(HasSubstr("step_00000009"), HasSubstr("going on after step 7 of 9")));
  resume.expect_equal("damaged", "unbroken", 1e-9);
}

TEST(ResumeTest, ARunKilledBeforeItsSummaryWritesIt) {
  const ResumeCase resume(8);
  std::ignore = resume.run(0, "out");
  const fs::path summary = resume.job("out", "distill") / "summary.json";
  nlohmann::json whole = nlohmann::json::parse(read_file(summary));
  fs::remove(summary);
  std::ignore = resume.run(0, "out");
  ASSERT_TRUE(fs::exists(summary));
  EXPECT_EQ(whole.erase("peak_bytes"), 1U) << "which a run without steps cannot know";
  EXPECT_EQ(nlohmann::json::parse(read_file(summary)), whole);
}

TEST(ResumeTest, AChangedLearningRateIsRefusedAndMoreStepsAreNot) {
  const ResumeCase resume(8);
  std::ignore = resume.run(0, "out");
  for (const int ranks : {0, 2}) {
    const ProgramResult refused =
        run_program(resume.command(ranks, "out", {"--set", "job[1].train.optimizer.lr=2e-4"}));
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_THAT(refused.output,
                AllOf(HasSubstr("distill"), HasSubstr("optimizer.lr"), HasSubstr("0.0002")));
  }
  const std::string longer = resume.run(0, "out", {"--set", "job[2].train.steps=12"});
  EXPECT_THAT(longer, HasSubstr("going on after step 8 of 12"));
}

/// mpirun ends with a failure by its own rules, a second after it has passed the signal on; the ranks have saved.
TEST(ResumeTest, SigtermToMpirunSavesBeforeItEndsTheRanks) {
  const ResumeCase resume(400);
  const auto result = resume.interrupt(
      2, "out", "align", 2, [](const RunningProgram& mpirun) { mpirun.signal(SIGTERM); });
  ASSERT_TRUE(result.has_value());
  EXPECT_THAT(result->output, HasSubstr("the same command goes on from there"));
}

}  // namespace
}  // namespace halo::test
