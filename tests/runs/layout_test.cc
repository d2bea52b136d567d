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

}  // namespace
}  // namespace halo::test
