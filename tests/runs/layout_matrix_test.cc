// Every layout of up to eight ranks, and every third of them under mpirun: one rank's numbers, to rounding.
#include <gtest/gtest.h>

#include "tests/runs/layout_golden.h"

namespace halo::test {
namespace {

using Ranks = LayoutGolden::Ranks;
using testing::Combine;
using testing::Values;
using testing::ValuesIn;

class LayoutMatrixTest : public testing::TestWithParam<std::tuple<const char*, Ranks, LayoutCase>> {
};

TEST_P(LayoutMatrixTest, EqualsOneRank) {
  const auto& [name, ranks, layout] = GetParam();
  LayoutGolden::of(name).expect_one_ranks_results(layout, ranks);
}

std::vector<LayoutCase> tied() { return layout_cases(8, 4, 4); }
std::vector<LayoutCase> untied() { return layout_cases(8, 3, 4); }

INSTANTIATE_TEST_SUITE_P(Tied, LayoutMatrixTest,
                         Combine(Values("tied"), Values(Ranks::kThreads), ValuesIn(tied())));
INSTANTIATE_TEST_SUITE_P(Untied, LayoutMatrixTest,
                         Combine(Values("untied"), Values(Ranks::kThreads), ValuesIn(untied())));
INSTANTIATE_TEST_SUITE_P(TiedProcesses, LayoutMatrixTest,
                         Combine(Values("tied"), Values(Ranks::kProcesses),
                                 ValuesIn(every(3, tied()))));
INSTANTIATE_TEST_SUITE_P(UntiedProcesses, LayoutMatrixTest,
                         Combine(Values("untied"), Values(Ranks::kProcesses),
                                 ValuesIn(every(3, untied()))));

}  // namespace
}  // namespace halo::test
