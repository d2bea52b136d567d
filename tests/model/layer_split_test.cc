#include "core/model/layer_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace halo::model {
namespace {

using testing::ElementsAre;

TEST(SplitLayersTest, EqualLayersInEqualRuns) {
  EXPECT_THAT(split_layers({std::vector<double>(8, 1.0)}, 4),
              ElementsAre(LayerRange{0, 2}, LayerRange{2, 4}, LayerRange{4, 6}, LayerRange{6, 8}));
  EXPECT_THAT(split_layers({std::vector<double>(3, 1.0)}, 1), ElementsAre(LayerRange{0, 3}));
}

TEST(SplitLayersTest, LayersThatDoNotDivide) {
  const auto ranges = split_layers({std::vector<double>(7, 1.0)}, 3);
  ASSERT_EQ(ranges.size(), 3U);
  int begin = 0;
  for (const LayerRange& range : ranges) {
    EXPECT_EQ(range.begin, begin);
    EXPECT_GE(range.end - range.begin, 2);
    EXPECT_LE(range.end - range.begin, 3);
    begin = range.end;
  }
  EXPECT_EQ(begin, 7);
}

TEST(SplitLayersTest, TheHeadCountsAsLayers) {
  EXPECT_THAT(split_layers({std::vector<double>(6, 1.0), 0.0, 2.0}, 2),
              ElementsAre(LayerRange{0, 4}, LayerRange{4, 6}));
  EXPECT_THAT(split_layers({std::vector<double>(6, 1.0), 2.0, 0.0}, 2),
              ElementsAre(LayerRange{0, 2}, LayerRange{2, 6}));
  // Dearer than all layers together: it still stands behind one.
  EXPECT_THAT(split_layers({std::vector<double>(3, 1.0), 0.0, 100.0}, 2),
              ElementsAre(LayerRange{0, 2}, LayerRange{2, 3}));
}

TEST(SplitLayersTest, MoreRunsThanLayersAreRefused) {
  EXPECT_THAT([] { std::ignore = split_layers({std::vector<double>(3, 1.0)}, 4); },
              testing::ThrowsMessage<InputError>(testing::HasSubstr("up to 3")));
}

TEST(RangesOfStageTest, GoRoundTheStages) {
  const auto all = split_layers({std::vector<double>(8, 1.0)}, 4);
  EXPECT_THAT(ranges_of_stage(all, 0, 2), ElementsAre(LayerRange{0, 2}, LayerRange{4, 6}));
  EXPECT_THAT(ranges_of_stage(all, 1, 2), ElementsAre(LayerRange{2, 4}, LayerRange{6, 8}));
}

}  // namespace
}  // namespace halo::model
