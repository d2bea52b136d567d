// The golden stages on layouts of up to eight ranks: one rank's numbers, to rounding.
#include <gtest/gtest.h>

#include "tests/runs/layout_golden.h"

namespace halo::test {
namespace {

class LayoutTest : public testing::TestWithParam<std::tuple<const char*, LayoutCase>> {};

TEST_P(LayoutTest, EqualsOneRank) {
  const auto& [name, layout] = GetParam();
  LayoutGolden::of(name).expect_one_ranks_results(layout, LayoutGolden::Ranks::kThreads);
}

INSTANTIATE_TEST_SUITE_P(Tied, LayoutTest,
                         testing::Combine(testing::Values("tied"),
                                          testing::ValuesIn(layout_cases(4, 4, 4))));
INSTANTIATE_TEST_SUITE_P(Untied, LayoutTest,
                         testing::Combine(testing::Values("untied"),
                                          testing::ValuesIn(every(9, layout_cases(8, 3, 4)))));

/// A step on one layout, one on the next, and so on: the weights and all steps are those of one rank.
TEST(LayoutResumeTest, AnotherLayoutGoesOn) {
  const LayoutGolden& golden = LayoutGolden::of("tied");
  const std::vector<LayoutCase> cases = layout_cases(8, 4, 4);
  LayoutGolden::Options options;
  options.steps = 4;
  const std::vector<TrainingResult> reference = golden.run({}, "long", options);
  for (const std::size_t first : {std::size_t{3}, cases.size() / 2, cases.size() - 1}) {
    std::vector<TrainingResult> last;
    for (int part = 0; part < 4; ++part) {
      const LayoutCase& c = cases[(first + static_cast<std::size_t>(part) * 11) % cases.size()];
      SCOPED_TRACE(testing::PrintToString(c));
      options.steps = part + 1;
      last = golden.run(c, str("parts", first), options);
    }
    expect_near(last, reference, kLayoutTolerance);
  }
}

}  // namespace
}  // namespace halo::test
