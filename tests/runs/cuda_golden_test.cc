// Every stage of the method on a GPU, against what the float64 oracle computed; ranks share the GPU.
#include <gtest/gtest.h>

#include "core/base/file.h"
#include "core/train/recorded_pass.h"
#include "launch/metrics.h"
#include "tests/runs/golden_case.h"
#include "tests/runs/resume_case.h"

namespace halo::test {
namespace {

struct CudaRun {
  std::string name;       // of the golden case
  std::string precision;  // FP32 or BF16
  int ranks;              // 0: without mpirun
  std::vector<std::string> layout;
  std::int64_t validation_length = 0;  // of a validation after four of the eight steps; 0: none
};

/// float32 sums in another order than the oracle's; bfloat16 keeps 8 bits of every activation.
double loss_tolerance(const CudaRun& run) { return run.precision == "FP32" ? 1e-5 : 1e-2; }

class CudaGoldenTest : public testing::Test {
 protected:
  using Steps = std::vector<launch::StepMetrics>;

  static std::map<std::string, Steps> run_stages(const CudaRun& run, const TestFolder& folder,
                                                 const std::string& output,
                                                 bool cuda_graphs = true) {
    const GoldenCase golden(run.name, folder.path());
    std::vector<std::string> arguments{"--config", golden.config().string(),
                                       "--output", (folder / output).string(),
                                       "--device", "cuda",
                                       "--set",    "precision=" + run.precision};
    for (const std::string& field : run.layout)
      arguments.insert(arguments.end(), {"--set", "layout." + field});
    if (run.validation_length > 0) {
      for (const std::string& field :
           {"tokens=" + golden.tokens().string(), std::string("every_steps=4"),
            std::string("sequences=1"), str("sequence_length=", run.validation_length)})
        arguments.insert(arguments.end(), {"--set", "train.validation." + field});
    }
    if (!cuda_graphs) arguments.insert(arguments.end(), {"--set", "cuda_graphs=false"});
    const ProgramResult result = run_program(train_command(run.ranks, arguments));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(result.output.find("not recorded"), std::string::npos) << result.output;
    std::map<std::string, Steps> stages;
    for (const char* job : {"align", "distill", "finetune"})
      stages[job] = launch::read_metrics(folder / (output + "/" + job + "/metrics.jsonl"));
    return stages;
  }

  static void expect_oracle(const CudaRun& run) {
    std::string layout;
    for (const std::string& field : run.layout) layout += ' ' + field;
    SCOPED_TRACE(str(run.name, ' ', run.precision, ' ', run.ranks, " ranks", layout));
    const TestFolder folder;
    const GoldenCase golden(run.name, folder.path());
    auto stages = run_stages(run, folder, "out");
    const std::vector<std::pair<std::string, std::string>> names{
        {"align", "stage1"}, {"distill", "stage2"}, {"finetune", "stage3"}};
    for (const auto& [job, stage] : names) {
      const std::vector<double> loss = golden.expected_series(stage, "loss");
      ASSERT_EQ(stages[job].size(), loss.size()) << job;
      for (std::size_t i = 0; i < loss.size(); ++i)
        EXPECT_NEAR(stages[job][i].loss, loss[i], loss_tolerance(run) * loss[i])
            << job << " step " << i;
    }
  }
};

TEST_F(CudaGoldenTest, OneRank) {
  for (const char* name : {"tied", "untied"})
    for (const char* precision : {"FP32", "BF16"}) expect_oracle({name, precision, 0, {}});
}

/// Whose positions need longer tables than those that the recorded passes read.
TEST_F(CudaGoldenTest, ALongerValidationChangesNothing) {
  expect_oracle({"tied", "FP32", 0, {}, 320});
}

TEST_F(CudaGoldenTest, RanksThatShareTheGpu) {
  expect_oracle({"tied", "FP32", 2, {}});
  expect_oracle({"tied", "FP32", 2, {"tensor=2"}});
  expect_oracle({"tied", "FP32", 2, {"context=2"}});
  expect_oracle({"untied", "FP32", 2, {"pipeline=2"}});
  expect_oracle({"tied", "FP32", 4, {"context=2", "tensor=2"}});
  expect_oracle({"tied", "BF16", 4, {"pipeline=2", "tensor=2"}});
}

/// One with passes recorded as CUDA graphs, one without.
TEST_F(CudaGoldenTest, TwoRunsGiveTheSameBits) {
  const TestFolder folder;
  for (const char* precision : {"FP32", "BF16"}) {
    const CudaRun run{"tied", precision, 0, {}};
    auto first = run_stages(run, folder, str("a", precision));
    auto second = run_stages(run, folder, str("b", precision), /*cuda_graphs=*/false);
    for (auto& [job, steps] : first) {
      ASSERT_EQ(steps.size(), second[job].size());
      ASSERT_GT(steps.size(), static_cast<std::size_t>(train::RecordedPass::kUnrecorded)) << job;
      for (std::size_t i = 0; i < steps.size(); ++i) {
        EXPECT_EQ(steps[i].loss, second[job][i].loss) << precision << ' ' << job << ' ' << i;
        EXPECT_EQ(steps[i].grad_norm, second[job][i].grad_norm) << job << ' ' << i;
      }
    }
  }
}

/// Broken off in every stage: asked to stop when it is one process, else killed with all its ranks.
void expect_same_bits_after_breaks(const std::string& precision, int ranks,
                                   const std::vector<std::string>& layout) {
  SCOPED_TRACE(str(precision, ' ', ranks, " ranks"));
  std::vector<std::string> options{"--device", "cuda", "--set", "precision=" + precision};
  for (const std::string& field : layout)
    options.insert(options.end(), {"--set", "layout." + field});
  const ResumeCase resume(16, options);
  std::ignore = resume.run(ranks, "unbroken");
  int breaks = 0;
  for (const char* job : kStages) {
    if (ranks == 0) {
      breaks += resume.stop(ranks, "broken", job, 4);
      continue;
    }
    const auto result = resume.interrupt(ranks, "broken", job, 9,
                                         [](const RunningProgram& program) { program.kill_all(); });
    breaks += result && result->exit_code != 0;
  }
  EXPECT_GE(breaks, 2) << "they came too late";
  std::ignore = resume.run(ranks, "broken");
  resume.expect_equal("broken", "unbroken");
}

TEST_F(CudaGoldenTest, ABrokenRunGoesOnToTheSameBits) {
  expect_same_bits_after_breaks("BF16", 0, {});
  expect_same_bits_after_breaks("FP32", 0, {});
  expect_same_bits_after_breaks("BF16", 2, {"context=2"});
}

}  // namespace
}  // namespace halo::test
