// Layouts over several GPUs, a rank each, through NCCL: one GPU's numbers. A machine with N GPUs runs those of up to N ranks.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/cuda_device.h"
#include "tests/runs/golden_case.h"
#include "tests/runs/layout_case.h"
#include "tests/runs/small_model.h"
#include "tests/runs/training_results.h"

namespace halo::test {
namespace {

// float32 sums in another order: of a loss, and of gradients beside the largest of their tensor.
constexpr double kLossTolerance = 1e-5, kGradientTolerance = 1e-4;

/// Two steps of each stage of a model, on one GPU.
class GpuModel {
 public:
  GpuModel(std::filesystem::path config, const std::filesystem::path& folder)
      : config_(std::move(config)), folder_(folder), reference_(run({}, "one")) {}

  void expect_one_gpus_results(const LayoutCase& c) const {
    const std::vector<TrainingResult> results = run(c, testing::PrintToString(c));
    ASSERT_EQ(results.size(), reference_.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      SCOPED_TRACE(reference_[i].job);
      TrainingResult losses = results[i], reference = reference_[i];
      // A weight moves by the sign of a gradient, which of a tiny one is rounding.
      for (TrainingResult* result : {&losses, &reference}) result->weights.clear();
      expect_near({losses}, {reference}, kGradientTolerance);
      for (std::size_t step = 0; step < reference.losses.size(); ++step)
        EXPECT_NEAR(losses.losses[step], reference.losses[step],
                    kLossTolerance * reference.losses[step]);
    }
  }

 private:
  [[nodiscard]] std::vector<TrainingResult> run(const LayoutCase& c,
                                                const std::string& output) const {
    TrainingRun run{config_, folder_ / output, layout_settings(c)};
    for (const char* setting : {"device=CUDA", "precision=FP32", "comm_backend=NCCL",
                                "train.steps=2", "train.optimizer.schedule=CONSTANT"})
      run.settings.emplace_back(setting);
    run_on_processes(c.layout.ranks(), run);
    return read_results(run.output, kJobs);
  }

  std::filesystem::path config_, folder_;
  std::vector<TrainingResult> reference_;
};

const GpuModel& golden() {
  static const TestFolder folder;
  static const GoldenCase golden("tied", folder.path());
  static const GpuModel model(golden.config(), folder.path());
  return model;
}

/// Larger, with sequences of several chunks and documents that end inside of them.
const GpuModel& random_model() {
  static const TestFolder folder;
  static const SmallModel small(
      [] {
        SmallModelOptions options;
        options.layers = 8;
        options.heads = 8;
        options.key_heads = 4;
        options.vocab_size = 1031;
        options.tied = false;
        options.T = 600;
        options.sequences = 8;
        options.documents = {230, 600, 17, 353};
        return options;
      }(),
      folder.path());
  static const GpuModel model(small.config(), folder.path());
  return model;
}

class CudaLayoutsTest : public testing::TestWithParam<std::tuple<bool, LayoutCase>> {};

TEST_P(CudaLayoutsTest, EqualsOneGpu) {
  const auto& [is_golden, layout] = GetParam();
  if (layout.layout.ranks() > cuda_device_count())
    GTEST_SKIP() << "needs " << layout.layout.ranks() << " GPUs; here are " << cuda_device_count();
  (is_golden ? golden() : random_model()).expect_one_gpus_results(layout);
}

/// Those of two, four and eight ranks, each with several of the options.
std::vector<LayoutCase> cases() {
  std::vector<LayoutCase> some;
  std::size_t larger = 0;
  for (const LayoutCase& c : layout_cases(8, 4, 4)) {
    const int ranks = c.layout.ranks();
    const bool taken = ranks == 2 || ranks == 4 || (ranks == 8 && larger++ % 3 == 0);
    if (!taken) continue;
    some.push_back(c);
    if (ranks > 2) continue;
    LayoutCase other = c;
    other.overlap = !c.overlap;
    other.recompute = !c.recompute;
    other.context_attention = c.context_attention == "RING" ? "ALL_GATHER" : "RING";
    other.context_state = c.context_state == "RING" ? "SCAN" : "RING";
    some.push_back(other);
  }
  return some;
}

INSTANTIATE_TEST_SUITE_P(Golden, CudaLayoutsTest,
                         testing::Combine(testing::Values(true), testing::ValuesIn(cases())));
INSTANTIATE_TEST_SUITE_P(Random, CudaLayoutsTest,
                         testing::Combine(testing::Values(false), testing::ValuesIn(cases())));

}  // namespace
}  // namespace halo::test
