// A student that is its teacher: the loss and every gradient are exactly 0, on every layout.
#include <gtest/gtest.h>

#include <algorithm>

#include "launch/metrics.h"
#include "tests/runs/layout_case.h"
#include "tests/runs/program.h"
#include "tests/runs/small_model.h"
#include "tests/runs/training_results.h"

namespace halo::test {
namespace {

class ItselfTest : public testing::TestWithParam<LayoutCase> {};

TEST_P(ItselfTest, LossAndGradientAreZero) {
  const TestFolder folder;
  const SmallModel model({}, folder.path());
  for (const std::string precision : {"FP64", "FP32"}) {
    SCOPED_TRACE(precision);
    TrainingRun run{model.to_itself(), folder / precision, layout_settings(GetParam())};
    run.settings.push_back("precision=" + precision);
    run_on_threads(GetParam().layout.ranks(), run);
    const auto steps = launch::read_metrics(run.output / "itself/metrics.jsonl");
    ASSERT_EQ(steps.size(), 2U);
    for (const launch::StepMetrics& m : steps) {
      EXPECT_EQ(m.loss, 0.0);
      EXPECT_EQ(m.grad_norm, 0.0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, ItselfTest,
                         testing::Values(LayoutCase{}, LayoutCase{{1, 1, 1, 2}},
                                         LayoutCase{{1, 1, 1, 3}}, LayoutCase{{1, 1, 2, 1}},
                                         LayoutCase{{1, 1, 2, 1}, 1, "ALL_GATHER"},
                                         LayoutCase{{2, 1, 1, 1}},
                                         LayoutCase{{2, 1, 1, 1}, 2, "RING", "RING", true},
                                         LayoutCase{{1, 2, 1, 1}}, LayoutCase{{2, 1, 2, 2}},
                                         LayoutCase{{1, 2, 2, 2}, 1, "ALL_GATHER", "SCAN", true}));

}  // namespace
}  // namespace halo::test
