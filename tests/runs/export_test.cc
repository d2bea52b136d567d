// `halo export`: what it does not write over, and what becomes of its models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/base/file.h"
#include "tests/runs/trained_golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class ExportTest : public TrainedGoldenCase {
 protected:
  [[nodiscard]] ProgramResult export_job(const std::string& job, const std::string& to) const {
    return run_program({program("halo").string(), "export", "--from",
                        (folder_ / ("made/" + job)).string(), "--to", (folder_ / to).string()});
  }
  /// `other` is not written beside what `first` has left, `again` is.
  void expect_apart(const std::string& first, const std::string& other, const std::string& again,
                    const std::string& told, const std::string& not_written) const {
    ASSERT_EQ(export_job(first, "to").exit_code, 0);
    const std::string config = read_file(folder_ / "to/config.json");
    const ProgramResult refused = export_job(other, "to");
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_THAT(refused.output, AllOf(HasSubstr(told), HasSubstr("give another folder")));
    EXPECT_EQ(read_file(folder_ / "to/config.json"), config);
    EXPECT_FALSE(fs::exists(folder_ / ("to/" + not_written)));
    EXPECT_EQ(export_job(again, "to").exit_code, 0) << "its own kind may be written again";
  }
};

TEST_F(ExportTest, AWholeModelIsNotWrittenBesideMixers) {
  expect_apart("align", "distill", "align", "holds mixers alone", "model.safetensors");
}

TEST_F(ExportTest, MixersAreNotWrittenBesideAWholeModel) {
  expect_apart("distill", "align", "finetune", "holds a whole model", "mixers.safetensors");
}

TEST_F(ExportTest, AJobsOwnFolderIsNotWrittenInto) {
  const std::string config = read_file(folder_ / "made/distill/config.json");
  for (const char* job : {"distill", "finetune"}) {
    const ProgramResult result = export_job(job, "made/distill");
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("is the folder of a training job"));
  }
  EXPECT_EQ(read_file(folder_ / "made/distill/config.json"), config);

  ASSERT_EQ(export_job("distill", "to").exit_code, 0);
  const ProgramResult same =
      run_program({program("halo").string(), "export", "--from", (folder_ / "to").string(), "--to",
                   (folder_ / "made/../to").string()});
  EXPECT_EQ(same.exit_code, 2) << same.output;
  EXPECT_THAT(same.output, HasSubstr("is what is exported"));
}

/// A config of export and other jobs, run in `output`.
ProgramResult run_jobs(const fs::path& folder, const std::string& jobs, const std::string& output) {
  write_file_atomically(folder / "jobs.textproto", "precision: FP64 threads: 1 " + jobs);
  return run_program(train_command(0, {"--config", (folder / "jobs.textproto").string(), "--output",
                                       (folder / output).string()}));
}

TEST_F(ExportTest, AModelOfAnotherRunIsNotWrittenOver) {
  const std::string jobs =
      str("job { name: \"e\" export { from: \"", (folder_ / "made/finetune").string(), "\" to: \"",
          (folder_ / "to").string(), "\" } }");
  EXPECT_EQ(run_jobs(folder_.path(), jobs, "one").exit_code, 0);
  const ProgramResult other = run_jobs(folder_.path(), jobs, "two");
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_THAT(other.output, HasSubstr("holds a model that this run has not written"));
  EXPECT_FALSE(fs::exists(folder_ / "two/e/result.json"));
  fs::remove(folder_ / "one/e/result.json");
  EXPECT_EQ(run_jobs(folder_.path(), jobs, "one").exit_code, 0) << "its own it may";
}

TEST_F(ExportTest, ALaterJobReadsWhatAnEarlierOneExports) {
  const std::string to = (folder_ / "to").string();
  const ProgramResult result = run_jobs(
      folder_.path(),
      str("job { name: \"e\" export { from: \"", (folder_ / "made/finetune").string(), "\" to: \"",
          to, "\" } } job { name: \"v\" needs: \"e\" evaluate { models: \"", to, "\" tokens: \"",
          golden_.tokens().string(), "\" sequences: 1 sequence_length: 16 } }"),
      "out");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_TRUE(fs::exists(folder_ / "out/v/result.json"));
}

TEST_F(ExportTest, ExportsThatGoRoundAreRefused) {
  const ProgramResult itself =
      run_jobs(folder_.path(), "job { name: \"e\" export { from: \"mm\" to: \"mm\" } }", "out");
  EXPECT_EQ(itself.exit_code, 2) << itself.output;
  const ProgramResult round = run_jobs(
      folder_.path(),
      "job { name: \"a\" export { from: \"m1\" to: \"m2\" } } job { name: \"b\" export { from: "
      "\"m2\" to: \"m1\" } } job { name: \"f\" train { stage: FINETUNE student: \"m1\" data { "
      "tokens: \"" +
          golden_.tokens().string() + "\" } steps: 1 } }",
      "out");
  EXPECT_EQ(round.exit_code, 2) << round.output;
  EXPECT_FALSE(fs::exists(folder_ / "out/f"));
}

TEST_F(ExportTest, ACheckpointsFolderIsAModel) {
  const ProgramResult result =
      run_jobs(folder_.path(),
               str("job { name: \"again\" train { stage: FINETUNE student: \"",
                   (folder_ / "made/finetune/checkpoints/step_00000001").string(),
                   "\" data { tokens: \"", golden_.tokens().string(),
                   "\" sequence_length: 16 } batch { sequences: 1 } steps: 1 } }"),
               "out");
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST_F(ExportTest, NothingIsWrittenAmongAJobsCheckpoints) {
  const ProgramResult result = export_job("finetune", "made/align/checkpoints");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("lies in the folder of a training job"));
  const ProgramResult logits =
      run_program({program("halo").string(), "evaluate", "--model", golden_.teacher().string(),
                   "--tokens", golden_.tokens().string(), "--sequences", "1", "--sequence_length",
                   "16", "--logits", (golden_.teacher() / "config.json").string()});
  EXPECT_EQ(logits.exit_code, 2) << logits.output;
  EXPECT_THAT(logits.output, HasSubstr("is read and would be overwritten"));
}

/// The exported config.json carries HyPE's scaling, which is for inference: training from it computes without.
TEST_F(ExportTest, TrainingFromAnExportedModelIsWithoutItsLogitsScaling) {
  std::map<std::string, std::string> metrics;
  for (const std::string scaling : {"none", "hype 500"}) {
    const std::string to = (folder_ / ("to " + scaling)).string();
    const std::string output = (folder_ / ("out " + scaling)).string();
    ASSERT_EQ(run_program({program("halo").string(), "export", "--from",
                           (folder_ / "made/finetune").string(), "--to", to, "--dtype", "float64",
                           "--attn_logits_scaling", scaling})
                  .exit_code,
              0);
    const std::string config =
        str("precision: FP64 threads: 1 job { name: \"again\" train { stage: FINETUNE student: \"",
            to, "\" data { tokens: \"", golden_.tokens().string(),
            "\" sequence_length: 16 } batch { sequences: 1 } steps: 1 } }\n");
    write_file_atomically(folder_ / "again.textproto", config);
    const ProgramResult result = run_program(
        train_command(0, {"--config", (folder_ / "again.textproto").string(), "--output", output}));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::string line = read_file(output + "/again/metrics.jsonl");
    metrics[scaling] = line.substr(0, line.find("\"lr\""));  // step, loss and grad_norm
    EXPECT_THAT(read_file(output + "/again/config.json"), testing::Not(HasSubstr("hype 500")));
  }
  EXPECT_EQ(metrics["none"], metrics["hype 500"]);
}

/// Aligned mixers belong to the teacher; in a hybrid the other layers would be computed as a teacher's.
TEST_F(ExportTest, MixersOfAHybridAreNotReplaced) {
  const ProgramResult result = run_program(
      {program("halo").string(), "evaluate", "--model", (folder_ / "made/finetune").string(),
       "--tokens", golden_.tokens().string(), "--sequences", "1", "--sequence_length", "16",
       "--replace_layer", "0", "--mixers", (folder_ / "made/align").string()});
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("is no Qwen3 Transformer"));
}

}  // namespace
}  // namespace halo::test
