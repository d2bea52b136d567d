// The golden stages by halo_train under mpirun: one rank's numbers, to rounding.
#include <gtest/gtest.h>

#include "tests/runs/layout_golden.h"

namespace halo::test {
namespace {

class LayoutMpiTest : public testing::TestWithParam<LayoutCase> {};

TEST_P(LayoutMpiTest, EqualsOneRank) {
  LayoutGolden::of("tied").expect_one_ranks_results(GetParam(), LayoutGolden::Ranks::kProcesses);
}

INSTANTIATE_TEST_SUITE_P(Tied, LayoutMpiTest,
                         testing::Values(LayoutCase{{2, 2, 1, 2}, 2, "RING", "RING", false},
                                         LayoutCase{{1, 1, 3, 2}, 1, "RING", "SCAN", true},
                                         LayoutCase{{3, 1, 2, 1}, 1, "ALL_GATHER", "RING", false}));

}  // namespace
}  // namespace halo::test
