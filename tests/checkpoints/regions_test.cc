#include "checkpoints/regions.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace halo::checkpoints {
namespace {

using parallel::Region;
using parallel::whole;

TEST(RegionsTest, BlocksOfARegionAreConsecutiveElementsOfItsDenseCopy) {
  const Region region{{2, 0, 5}, {3, 4, 5}};
  std::vector<int> elements(60);
  std::iota(elements.begin(), elements.end(), 0);
  for (const std::int64_t limit : {1, 2, 4, 5, 7, 19, 20, 21, 40, 59, 60, 1000}) {
    std::vector<int> joined;
    for_each_block(region, limit, [&](const Region& block) {
      ASSERT_LE(block.shape.elements(), limit);
      ASSERT_TRUE(inside(block, {5, 4, 10}));
      for (std::int64_t i = 0; i < block.shape[0]; ++i) {
        for (std::int64_t j = 0; j < block.shape[1]; ++j) {
          for (std::int64_t k = 0; k < block.shape[2]; ++k) {
            const std::int64_t a = block.offset[0] + i - 2;
            joined.push_back(
                static_cast<int>((a * 4 + block.offset[1] + j) * 5 + block.offset[2] - 5 + k));
          }
        }
      }
    });
    EXPECT_EQ(joined, elements) << "at most " << limit;
  }
}

TEST(RegionsTest, EmptyAndScalarRegionsHaveNoneAndOneBlock) {
  int blocks = 0;
  const auto count = [&](const Region&) { ++blocks; };
  for_each_block(whole({3, 0}), 4, count);
  EXPECT_EQ(blocks, 0);
  for_each_block(whole(Shape{}), 4, count);
  EXPECT_EQ(blocks, 1);
}

TEST(RegionsTest, InsideIsSafeForNumbersThatOverflow) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  Region region{{1}, {1}};
  EXPECT_TRUE(inside(region, {2}));
  region.offset[0] = kMax;
  EXPECT_FALSE(inside(region, {2}));
  region.shape[0] = kMax;
  EXPECT_FALSE(inside(region, {kMax}));
  region.offset[0] = -1;
  EXPECT_FALSE(inside(region, {kMax}));
  EXPECT_FALSE(inside(Region{{0, 0}, {1, 1}}, {2})) << "another rank";
}

TEST(RegionsTest, AddressableCountsBytesAndTheStridesOfEmptyTensors) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_TRUE(addressable({kMax / 8}));
  EXPECT_FALSE(addressable({kMax / 8 + 1}));
  EXPECT_FALSE(addressable({0, kMax, kMax}));
  EXPECT_TRUE(addressable({0, 3}));
}

struct Coverage {
  const char* name;
  std::vector<Region> regions;  // of a tensor (4, 6)
  std::string problem;          // empty: none
};
void PrintTo(const Coverage& coverage, std::ostream* out) { *out << coverage.name; }

class CoverageTest : public testing::TestWithParam<Coverage> {};

TEST_P(CoverageTest, FindsTheProblem) {
  const std::string problem = coverage_problem({4, 6}, GetParam().regions);
  if (GetParam().problem.empty()) {
    EXPECT_EQ(problem, "");
  } else {
    EXPECT_NE(problem.find(GetParam().problem), std::string::npos) << problem;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Regions, CoverageTest,
    testing::Values(
        Coverage{"whole", {{{0, 0}, {4, 6}}}, ""},
        Coverage{"rows", {{{2, 0}, {2, 6}}, {{0, 0}, {2, 6}}}, ""},
        Coverage{"quarters",
                 {{{0, 0}, {1, 5}}, {{1, 0}, {3, 5}}, {{0, 5}, {2, 1}}, {{2, 5}, {2, 1}}},
                 ""},
        Coverage{"with_an_empty_one", {{{0, 0}, {4, 6}}, {{4, 0}, {0, 6}}}, ""},
        Coverage{"nothing", {}, "0 of 24 elements"},
        Coverage{"hole", {{{0, 0}, {2, 6}}, {{2, 0}, {2, 5}}}, "22 of 24 elements"},
        Coverage{"overlap", {{{0, 0}, {3, 6}}, {{2, 0}, {2, 6}}}, "overlap"},
        Coverage{"overlap_that_balances_a_hole", {{{0, 0}, {2, 6}}, {{1, 0}, {2, 6}}}, "overlap"},
        Coverage{"twice", {{{0, 0}, {4, 6}}, {{0, 0}, {4, 6}}}, "overlap"},
        Coverage{"outside", {{{0, 0}, {4, 7}}}, "outside"},
        Coverage{"another_rank", {{{0}, {24}}}, "outside"}),
    [](const auto& test) { return test.param.name; });

TEST(RegionsTest, PrintableKeepsTerminalsSafe) {
  EXPECT_EQ(printable("model.norm"), "model.norm");
  EXPECT_EQ(printable("a\x1b[2Jb\n"), "a\\x1b[2Jb\\x0a");
  EXPECT_EQ(printable(std::string(1000, 'x')).size(), 163u);
}

}  // namespace
}  // namespace halo::checkpoints
