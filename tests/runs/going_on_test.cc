// The same output once more: what another run, another config or missing files do to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/file.h"
#include "launch/metrics.h"
#include "tests/runs/resume_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(GoingOnTest, ASecondRunInTheSameFolderIsRefused) {
  const ResumeCase resume(300);
  ProgramResult second;
  const auto first = resume.interrupt(0, "out", "align", 2, [&](const RunningProgram&) {
    second = run_program(resume.command(0, "out"));
  });
  ASSERT_TRUE(first.has_value());
  // On a fast machine the first may have ended while the second waited; then nothing is left to do for it.
  if (second.exit_code != 0) {
    EXPECT_EQ(second.exit_code, 2) << second.output;
    EXPECT_THAT(second.output, HasSubstr("another halo_train is working in this folder"));
  }
  EXPECT_EQ(first->exit_code, 0) << first->output;
  for (const char* stage : kStages) {
    const auto steps = launch::read_metrics(resume.job("out", stage) / "metrics.jsonl");
    ASSERT_EQ(steps.size(), 300U) << stage;
    for (std::size_t i = 0; i < steps.size(); ++i)
      ASSERT_EQ(steps[i].step, static_cast<std::int64_t>(i)) << stage;
  }
  EXPECT_FALSE(fs::exists(resume.output("out") / ".lock"));
}

/// Goes on in "out" with one field changed, which is refused; returns what is told.
std::string refused(const ResumeCase& resume, const std::string& assignment) {
  const ProgramResult result = run_program(resume.command(0, "out", {"--set", assignment}));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  return result.output;
}

TEST(GoingOnTest, StepsAreNotLoweredBelowThoseDone) {
  const ResumeCase resume(8);
  std::ignore = resume.run(0, "out");
  const std::string summary = read_file(resume.job("out", "finetune") / "summary.json");
  EXPECT_THAT(refused(resume, "job[2].train.steps=5"),
              AllOf(HasSubstr("job finetune has done 8 steps"), HasSubstr("to 5")));
  EXPECT_EQ(read_file(resume.job("out", "finetune") / "summary.json"), summary);
}

/// The checkpoint of that step may still be there, but it is not the newest.
TEST(GoingOnTest, StepsAreNotLoweredToAnEarlierCheckpoint) {
  const ResumeCase resume(16);  // checkpoints of steps 7, 14 and 16
  std::ignore = resume.run(0, "out");
  ASSERT_TRUE(fs::exists(resume.job("out", "finetune") / "checkpoints/step_00000014"));
  EXPECT_THAT(refused(resume, "job[2].train.steps=14"),
              HasSubstr("job finetune has done 16 steps"));
}

TEST(GoingOnTest, AnotherModelIsRefused) {
  const ResumeCase resume(8);
  std::ignore = resume.run(0, "out");
  const fs::path path = resume.job("out", "distill") / "config.json";
  std::string config = read_file(path);
  const std::string theta = "\"rope_theta\": ";
  config.insert(config.find(theta) + theta.size(), "2");
  write_file_atomically(path, config);
  EXPECT_THAT(refused(resume, "job[1].train.steps=9"),
              HasSubstr("the model is not the one that this run began with"));
}

TEST(GoingOnTest, AJobThatLostAllButItsCheckpointsEndsAgain) {
  const ResumeCase resume(8);
  std::ignore = resume.run(0, "out");
  const fs::path job = resume.job("out", "align");
  fs::remove(job / "summary.json");
  fs::remove(job / "metrics.jsonl");
  std::ignore = resume.run(0, "out");
  EXPECT_TRUE(fs::exists(job / "summary.json"));
}

TEST(GoingOnTest, ResultsOfAnEarlierModelAreTold) {
  const ResumeCase resume(8);
  EXPECT_THAT(resume.run(0, "out"), Not(HasSubstr("keeps the result")));
  EXPECT_THAT(resume.run(0, "out"), Not(HasSubstr("keeps the result")));
  const std::string longer = resume.run(0, "out", {"--set", "job[1].train.steps=9"});
  EXPECT_THAT(longer, HasSubstr("job finetune keeps the result that it made from job distill"));
}

TEST(GoingOnTest, MissingMetricsAreTold) {
  const ResumeCase resume(16);  // checkpoints of steps 7, 14 and 16
  std::ignore = resume.run(0, "out");
  const fs::path job = resume.job("out", "align");
  fs::remove(job / "summary.json");
  fs::remove_all(job / "checkpoints/step_00000016");
  fs::remove(job / "metrics.jsonl");
  EXPECT_THAT(resume.run(0, "out"), AllOf(HasSubstr("metrics.jsonl: lacks 14 of the 14 steps"),
                                          HasSubstr("going on after step 14 of 16")));

  fs::remove(job / "summary.json");
  fs::remove_all(job / "checkpoints");
  EXPECT_THAT(resume.run(0, "out"), HasSubstr("held 2 steps of a run that left no checkpoint"));
  EXPECT_EQ(launch::read_metrics(job / "metrics.jsonl").size(), 16U);
}

TEST(GoingOnTest, ADryRunTellsWhatCouldNotRunHere) {
  const ResumeCase resume(8);
  const std::string told = resume.run(
      0, "out",
      {"--dry_run", "--set", "precision=BF16", "--set", "job[0].train.data.tokens=/no.h5"});
  EXPECT_THAT(told, AllOf(HasSubstr("FLOP/step"), HasSubstr("here it could not run"),
                          HasSubstr("BF16 needs a GPU"), HasSubstr("/no.h5: job align")));
  EXPECT_FALSE(fs::exists(resume.output("out")));
  EXPECT_THAT(resume.run(0, "out", {"--dry_run"}), Not(HasSubstr("could not run")));
}

/// An untied student of a tied teacher starts with the embedding as its head.
TEST(GoingOnTest, ATiedTeachersStudentMayHaveAHeadOfItsOwn) {
  const ResumeCase resume(2);
  const std::string weights = "job[1].train.student_weights=";  // the golden first weights are tied
  std::ignore = resume.run(0, "tied", {"--set", weights});
  std::ignore = resume.run(0, "untied",
                           {"--set", weights, "--set", "job[1].train.tie_word_embeddings=false",
                            "--set", "job[2].train.student_weights="});
  const auto first = [&](const std::string& output) {
    return launch::read_metrics(resume.job(output, "distill") / "metrics.jsonl").front();
  };
  EXPECT_EQ(first("tied").loss, first("untied").loss);
  EXPECT_THAT(read_file(resume.job("untied", "distill") / "config.json"),
              HasSubstr("\"tie_word_embeddings\": false"));
}

}  // namespace
}  // namespace halo::test
