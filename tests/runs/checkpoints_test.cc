// What becomes of a run's checkpoints: which there are, what is in them, and what a disk does to them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/metrics.h"
#include "tests/runs/resume_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> set(const std::string& assignment) { return {"--set", assignment}; }

TEST(CheckpointsTest, TheFilesAreThoseOfARunThatWaitsForThem) {
  const ResumeCase resume(
      8, {"--set", "train.checkpoint.every_steps=3", "--set", "train.checkpoint.keep_last=9"});
  EXPECT_THAT(resume.run(2, "beside", {"--dry_run"}), HasSubstr(" on host "));
  std::vector<std::string> dry = set("train.checkpoint.asynchronous=false");
  dry.insert(dry.end(), {"--dry_run", "--device", "cpu"});
  EXPECT_THAT(resume.run(0, "dry", dry), HasSubstr(" 0.00 B "));
  dry.back() = "cuda";  // planned, not run: what a GPU holds is written from a copy always
  EXPECT_THAT(resume.run(0, "dry", dry), Not(HasSubstr(" 0.00 B ")));
  const std::string told = resume.run(2, "beside");
  EXPECT_THAT(told, AllOf(HasSubstr("checkpoint step_00000003: training stood still "),
                          HasSubstr(" a rank in host memory")));
  EXPECT_THAT(resume.run(2, "waiting", set("train.checkpoint.asynchronous=false")),
              Not(HasSubstr("in host memory")));
  for (const char* stage : kStages) {
    const fs::path beside = resume.job("beside", stage) / "checkpoints";
    const fs::path waiting = resume.job("waiting", stage) / "checkpoints";
    EXPECT_THAT(names_in(beside), ElementsAre("step_00000003", "step_00000006", "step_00000008"));
    for (const std::string& step : names_in(waiting)) {
      ASSERT_EQ(names_in(waiting / step), names_in(beside / step));
      for (const char* file : {"rank_00000.h5", "rank_00001.h5"})
        EXPECT_EQ(read_file(beside / step / file), read_file(waiting / step / file)) << step;
    }
  }
}

TEST(CheckpointsTest, TheLastTheNthAndTheBestStay) {
  const ResumeCase resume(
      8, {"--set", "train.checkpoint={every_steps: 1 keep_last: 1 keep_every: 3 keep_best: true}"});
  const auto command = [&](std::int64_t steps) {
    return std::vector<std::string>{
        "--set",
        str("job[0].train.validation={tokens: '", resume.tokens().string(),
            "' sequences: 2 every_steps: 100}"),
        "--set",
        "job[1].train.checkpoint.keep_best=false",
        "--set",
        "job[2].train.checkpoint.keep_best=false",
        "--set",
        str("job[0].train.steps=", steps)};
  };
  std::ignore = resume.run(0, "out", command(5));  // the best is known to the run that goes on
  std::ignore = resume.run(0, "out", command(8));
  std::int64_t best = 0;
  double lowest = INFINITY;
  const fs::path align = resume.job("out", "align");
  for (const auto& step : launch::read_metrics(align / "metrics.jsonl")) {
    ASSERT_TRUE(step.validation_loss.has_value()) << "at each step that is saved";
    if (*step.validation_loss > lowest) continue;
    lowest = *step.validation_loss;
    best = step.step + 1;
  }
  std::set<std::string> expected{"step_00000003", "step_00000006", "step_00000008"};
  expected.insert(str("step_0000000", best));
  const auto found = names_in(align / "checkpoints");
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), expected);
  EXPECT_THAT(names_in(resume.job("out", "finetune") / "checkpoints"),
              ElementsAre("step_00000003", "step_00000006", "step_00000008"));
}

/// A file that is what its writer made of it, and not what was to be written: its own sum is right, a rectangle's is not.
TEST(CheckpointsTest, ADamagedRectangleFallsBackToTheOneBefore) {
  const ResumeCase resume(9);
  std::ignore = resume.run(0, "unbroken");
  std::ignore = resume.run(0, "damaged");
  const fs::path job = resume.job("damaged", "finetune");
  fs::remove(job / "summary.json");
  const fs::path newest = job / "checkpoints/step_00000009";
  checkpoints::Manifest manifest = checkpoints::CheckpointReader(newest).manifest();
  manifest.files[0].slices.back().crc[1] ^= 1U;
  write_file_atomically(newest / checkpoints::kManifestName, checkpoints::to_text(manifest));
  EXPECT_THAT(resume.run(2, "damaged"),
              AllOf(HasSubstr("step_00000009 is passed over"), HasSubstr("rank_00000.h5: m of '"),
                    HasSubstr("going on after step 7 of 9")));
  resume.expect_equal("damaged", "unbroken", 1e-9);
}

TEST(CheckpointsTest, ARunGoesOnInAnotherPrecision) {
  const ResumeCase resume(16, {"--set", "train.optimizer.schedule=CONSTANT"});
  std::ignore = resume.run(0, "unbroken");
  const auto part = [&](std::int64_t steps, const char* precision) {
    return resume.run(
        0, "out",
        {"--set", str("job[2].train.steps=", steps), "--set", str("job[2].precision=", precision)});
  };
  std::ignore = part(7, "FP64");
  EXPECT_THAT(part(11, "FP32"), HasSubstr("going on after step 7 of 11"));
  EXPECT_THAT(part(16, "FP64"), HasSubstr("going on after step 11 of 16"));
  const auto steps = launch::read_metrics(resume.job("out", "finetune") / "metrics.jsonl");
  const auto expected = launch::read_metrics(resume.job("unbroken", "finetune") / "metrics.jsonl");
  ASSERT_EQ(steps.size(), expected.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_NEAR(steps[i].loss, expected[i].loss, i < 7 ? 0 : 1e-4 * expected[i].loss) << i;
    EXPECT_EQ(steps[i].loss == expected[i].loss, i < 7) << i;
  }
}

TEST(CheckpointsTest, AFolderThatIsRemovedMeanwhileIsMadeAgain) {
  const ResumeCase resume(60, {"--set", "train.checkpoint.every_steps=2"});
  const fs::path checkpoints = resume.job("out", "align") / "checkpoints";
  const auto result = resume.interrupt(2, "out", "align", 9, [&](const RunningProgram&) {
    std::error_code changing;  // a checkpoint may be written to it meanwhile
    for (int i = 0; i < 3; ++i) fs::remove_all(checkpoints, changing);
  });
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->exit_code, 0) << result->output;
  EXPECT_THAT(names_in(checkpoints), ElementsAre("step_00000058", "step_00000060"));
}

/// Runs a script of sh with rights to mount; nothing where the system does not give them.
std::optional<ProgramResult> run_with_mounts(const std::string& script,
                                             const std::vector<std::string>& command) {
  const ProgramResult allowed =
      run_program({"unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"});
  if (allowed.exit_code != 0) return std::nullopt;
  std::vector<std::string> all{"unshare", "-rm", "sh", "-c", script, "sh"};
  all.insert(all.end(), command.begin(), command.end());
  return run_program(all);
}

TEST(CheckpointsTest, AFullDiskDropsACheckpointAndKeepsTheOneBefore) {
  const ResumeCase resume(20);
  std::ignore = resume.run(0, "size", set("train.steps=1"));
  std::uintmax_t bytes = 0;
  const fs::path one = resume.job("size", "align") / "checkpoints/step_00000001";
  for (const auto& entry : fs::directory_iterator(one)) bytes += entry.file_size();
  // Room for one and a half.
  const std::string disk = resume.output("out").string();
  fs::create_directories(disk);
  const auto result =
      run_with_mounts(str("mount -t tmpfs -o size=", bytes * 3 / 2 + (64 << 10), " none '", disk,
                          "'; \"$@\"; ", "status=$?; ls '", disk, "/align/checkpoints'; '",
                          program("halo").string(), "' verify '", disk, "/align'; exit $status"),
                      resume.command(0, "out"));
  if (!result) GTEST_SKIP() << "no rights to mount";
  EXPECT_EQ(result->exit_code, 1) << "the last step's checkpoint must be there";
  EXPECT_THAT(
      result->output,
      AllOf(HasSubstr("checkpoint step_00000007: "), HasSubstr("step_00000014 was not written: "),
            HasSubstr("rank 0: a checkpoint of "), HasSubstr(" does not fit into "),
            HasSubstr("step_00000020 could not be written: "), HasSubstr("\nstep_00000007\n"),
            Not(HasSubstr("\nstep_00000014\n"))));
}

TEST(CheckpointsTest, AReadOnlyFolderIsNamed) {
  const ResumeCase resume(9);
  const std::string folder = (resume.job("out", "align") / "checkpoints").string();
  fs::create_directories(folder);
  const auto result = run_with_mounts(str("mount -t tmpfs -o ro none '", folder, "'; exec \"$@\""),
                                      resume.command(0, "out"));
  if (!result) GTEST_SKIP() << "no rights to mount";
  EXPECT_EQ(result->exit_code, 1) << result->output;
  EXPECT_THAT(result->output, AllOf(HasSubstr("step_00000007 was not written: "),
                                    HasSubstr("step_00000009 could not be written: "),
                                    HasSubstr(folder), HasSubstr("Read-only file system")));
}

}  // namespace
}  // namespace halo::test
