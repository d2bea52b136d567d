// Every stage of the method through halo_train itself, against what the float64 oracle computed.
#include <gtest/gtest.h>

#include "launch/metrics.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

struct GoldenRun {
  std::string name;       // of the golden case
  std::string precision;  // FP64 or FP32
  int ranks;              // 0: without mpirun
  int micro_sequences;
};
void PrintTo(const GoldenRun& run, std::ostream* out) {
  *out << run.name << ' ' << run.precision << " ranks " << run.ranks << " micro "
       << run.micro_sequences;
}

/// float64 leaves rounding alone; in float32 PyTorch's own stays within 4e-7 of the oracle.
double tolerance(const GoldenRun& run) { return run.precision == "FP64" ? 1e-9 : 2e-6; }

void expect_series(const GoldenCase& golden, const GoldenRun& run, const std::filesystem::path& job,
                   const std::string& stage) {
  const std::vector<double> loss = golden.expected_series(stage, "loss");
  const std::vector<double> grad_norm = golden.expected_series(stage, "grad_norm");
  const std::vector<launch::StepMetrics> steps = launch::read_metrics(job / "metrics.jsonl");
  ASSERT_EQ(steps.size(), loss.size()) << stage;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_NEAR(steps[i].loss, loss[i], tolerance(run) * loss[i]) << stage << " step " << i;
    EXPECT_NEAR(steps[i].grad_norm, grad_norm[i], tolerance(run) * grad_norm[i])
        << stage << " step " << i;
    EXPECT_GT(steps[i].mfu, 0) << "the peak of the machine is measured: " << stage << " step " << i;
  }
}

/// The final weights, through the export that a user would call.
void expect_final_weights(const GoldenCase& golden, const TestFolder& folder,
                          const std::string& job, const std::string& stage) {
  const std::filesystem::path to = folder / ("export_" + job);
  const ProgramResult exported =
      run_program({program("halo").string(), "export", "--from", folder / ("out/" + job), "--to",
                   to.string(), "--dtype", "float64"});
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  const bool mixers = job == "align";
  const checkpoints::SafetensorsFile weights(to /
                                             (mixers ? "mixers.safetensors" : "model.safetensors"));
  expect_rounded_equal(weights, golden.expected(stage), "final.");
}

class GoldenTest : public testing::TestWithParam<GoldenRun> {};

TEST_P(GoldenTest, EveryStageGivesTheOraclesLossesGradientsAndWeights) {
  const GoldenRun& run = GetParam();
  const TestFolder folder;
  const GoldenCase golden(run.name, folder.path());
  const ProgramResult result = run_program(train_command(
      run.ranks, {"--config", golden.config().string(), "--output", (folder / "out").string(),
                  "--set", "precision=" + run.precision, "--set",
                  str("train.batch.micro_sequences=", run.micro_sequences)}));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::vector<std::pair<std::string, std::string>> stages{
      {"align", "stage1"}, {"distill", "stage2"}, {"finetune", "stage3"}};
  for (const auto& [job, stage] : stages) {
    SCOPED_TRACE(job);
    expect_series(golden, run, folder / ("out/" + job), stage);
    if (run.precision != "FP64") continue;
    expect_rounded_equal(
        checkpoints::SafetensorsFile(folder / ("out/" + job + "/gradients.safetensors")),
        golden.expected(stage), "grad.");
    expect_final_weights(golden, folder, job, stage);
  }
}

std::vector<GoldenRun> runs() {
  std::vector<GoldenRun> all;
  for (const char* name : {"tied", "untied"}) {
    for (const char* precision : {"FP64", "FP32"}) {
      for (const int ranks : {0, 2, 3, 4}) {
        for (const int micro : {1, 2}) all.push_back({name, precision, ranks, micro});
      }
    }
  }
  return all;
}

std::string run_name(const testing::TestParamInfo<GoldenRun>& info) {
  const GoldenRun& run = info.param;
  return str(run.name, '_', run.precision, "_ranks", run.ranks, "_micro", run.micro_sequences);
}

INSTANTIATE_TEST_SUITE_P(Layouts, GoldenTest, testing::ValuesIn(runs()), run_name);

class SweepTest : public testing::TestWithParam<const char*> {};

TEST_P(SweepTest, EverySingleReplacementModelGivesTheOraclesLogits) {
  const TestFolder folder;
  const GoldenCase golden(GetParam(), folder.path());
  const checkpoints::SafetensorsFile expected = golden.expected("sweep");
  for (std::size_t layer = 0; layer < expected.tensors().size(); ++layer) {
    const std::string to = folder / "logits.safetensors";
    const ProgramResult result = run_program(
        {program("halo").string(), "evaluate", "--model", golden.teacher(), "--tokens",
         golden.tokens(), "--sequences", std::to_string(golden.B()), "--sequence_length",
         std::to_string(golden.T()), "--precision", "FP64", "--logits", to, "--replace_layer",
         std::to_string(layer), "--mixers", golden.mixers()});
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const checkpoints::SafetensorsFile ours(to);
    const Shape shape = expected.tensor(str("logits.", layer)).shape;
    ASSERT_EQ(ours.tensor("logits").shape, shape);
    std::vector<double> a(static_cast<std::size_t>(shape.elements())), b(a.size());
    ours.read("logits", parallel::whole(shape), view(a.data(), shape));
    expected.read(str("logits.", layer), parallel::whole(shape), view(b.data(), shape));
    for (std::size_t i = 0; i < a.size(); ++i) {
      ASSERT_TRUE(rounds_to(a[i], static_cast<float>(b[i])))
          << "layer " << layer << " element " << i << ": " << a[i] << ", the oracle has " << b[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, SweepTest, testing::Values("tied", "untied"));

}  // namespace
}  // namespace halo::test
