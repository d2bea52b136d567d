#include "parallel/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace halo::parallel {
namespace {

using testing::ElementsAre;

std::vector<std::int64_t> coverage(std::int64_t length, const Placement& placement, int ranks,
                                   Region (*region)(const Shape&, const Placement&, int, int)) {
  std::vector<std::int64_t> times(static_cast<std::size_t>(length), 0);
  for (int rank = 0; rank < ranks; ++rank) {
    const Region held = region({length, 3}, placement, rank, ranks);
    EXPECT_EQ(held.shape[1], 3);
    for (std::int64_t i = 0; i < held.shape[0]; ++i)
      ++times[static_cast<std::size_t>(held.offset[0] + i)];
  }
  return times;
}

TEST(PlacementTest, AWholeTensorIsOnEveryRankAndCountedOnce) {
  EXPECT_THAT(coverage(2, Placement::whole(), 3, held_region), ElementsAre(3, 3));
  EXPECT_THAT(coverage(2, Placement::whole(), 3, counted_region), ElementsAre(1, 1));
  EXPECT_TRUE(is_shared({2}, Placement::whole(), 2));
  EXPECT_FALSE(is_shared({2}, Placement::whole(), 1));
}

TEST(PlacementTest, RowsAreCutBetweenUnitsAsEvenlyAsTheyGo) {
  EXPECT_EQ(held_region({7, 5}, Placement::rows(), 0, 3), (Region{{0, 0}, {2, 5}}));
  EXPECT_EQ(held_region({7, 5}, Placement::rows(), 2, 3), (Region{{4, 0}, {3, 5}}));
  EXPECT_EQ(held_region({12, 5}, Placement::rows(4), 1, 2), (Region{{4, 0}, {8, 5}}));
  EXPECT_EQ(held_region({5, 6}, Placement::columns(3), 1, 2), (Region{{0, 3}, {5, 3}}));
  EXPECT_FALSE(is_shared({7, 5}, Placement::rows(), 3));
  EXPECT_THROW(static_cast<void>(held_region({7, 5}, Placement::rows(2), 0, 2)), Error);
  for (const int ranks : {1, 2, 3, 7, 9}) {
    EXPECT_THAT(coverage(7, Placement::rows(), ranks, held_region), testing::Each(1));
    EXPECT_THAT(coverage(7, Placement::rows(), ranks, counted_region), testing::Each(1));
  }
}

TEST(PlacementTest, KeyHeadsFollowTheirQueryHeads) {
  // 6 query heads over 3 key heads on 2 ranks: 0 0 1 | 1 2 2.
  EXPECT_EQ(key_heads_of(6, 3, 0, 2), (Range{0, 2}));
  EXPECT_EQ(key_heads_of(6, 3, 1, 2), (Range{1, 3}));
  const Placement odd = Placement::key_heads(1, 6);
  EXPECT_THAT(coverage(3, odd, 2, held_region), ElementsAre(1, 2, 1));
  EXPECT_THAT(coverage(3, odd, 2, counted_region), ElementsAre(1, 1, 1));
  EXPECT_TRUE(is_shared({3, 3}, odd, 2));
  EXPECT_FALSE(is_shared({3, 3}, odd, 3));

  // More ranks than key heads: each is held by several.
  const Placement few = Placement::key_heads(2, 8);
  EXPECT_THAT(coverage(4, few, 4, held_region), testing::Each(2));
  EXPECT_THAT(coverage(4, few, 8, held_region), testing::Each(4));
  EXPECT_THAT(coverage(4, few, 8, counted_region), testing::Each(1));
}

TEST(PlacementTest, EveryKeyHeadIsCountedOnce) {
  for (std::int64_t keys : {1, 2, 3, 4, 6}) {
    for (std::int64_t repeats : {1, 2, 3, 4}) {
      for (int ranks = 1; ranks <= keys * repeats; ++ranks) {
        const Placement placement = Placement::key_heads(1, keys * repeats);
        EXPECT_THAT(coverage(keys, placement, ranks, counted_region), testing::Each(1))
            << keys << ' ' << repeats << ' ' << ranks;
      }
    }
  }
}

}  // namespace
}  // namespace halo::parallel
