#include "launch/health/slow_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/health/beats.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class SlowRanksTest : public testing::Test {
 protected:
  /// So many steps of four ranks, each with a job and its own seconds a step.
  void steps(int count, const std::vector<std::pair<std::string, double>>& ranks) {
    for (int i = 0; i < count; ++i) {
      ++step_;
      for (int rank = 0; rank < 4; ++rank) {
        proto::Heartbeat beat = beat_of(rank, step_, step_);
        beat.set_job(ranks[static_cast<std::size_t>(rank)].first);
        beat.set_own_seconds(ranks[static_cast<std::size_t>(rank)].second);
        table_.keep(beat, static_cast<double>(step_));
      }
      slow_.look(table_);
      slow_.look(table_);  // one step counts once
    }
  }
  RankTable table_;
  SlowRanks slow_;
  int step_ = 0;
};

TEST_F(SlowRanksTest, TenStepsInARowMakeASlowRankAndOneGoodOneEndsIt) {
  steps(9, {{"a", 1}, {"a", 1}, {"a", 1.6}, {"a", 1}});
  EXPECT_THAT(slow_.slow(), IsEmpty());
  steps(1, {{"a", 1}, {"a", 1}, {"a", 1.6}, {"a", 1}});
  EXPECT_THAT(slow_.slow(), ElementsAre(Pair(2, 1.6)));
  steps(1, {{"a", 1}, {"a", 1}, {"a", 1.1}, {"a", 1}});
  EXPECT_THAT(slow_.slow(), IsEmpty());
}

/// Two jobs side by side, one with steps that are ten times as long.
TEST_F(SlowRanksTest, RanksAreMeasuredByThoseOfTheirOwnJob) {
  steps(50, {{"small", 1}, {"small", 1}, {"large", 10}, {"large", 10}});
  EXPECT_THAT(slow_.slow(), IsEmpty());
  steps(50, {{"small", 1}, {"small", 2}, {"large", 10}, {"large", 10}});
  EXPECT_THAT(slow_.slow(), ElementsAre(Pair(1, 2.0)));
  steps(1, {{"small", 1}, {"large", 10}, {"large", 10}, {"large", 10}});
  EXPECT_THAT(slow_.slow(), IsEmpty()) << "in another job it begins anew";
}

}  // namespace
}  // namespace halo::launch
