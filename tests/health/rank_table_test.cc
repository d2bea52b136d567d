#include "launch/health/rank_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/health/beats.h"

namespace halo::launch {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(RankTableTest, AskedTwiceOneBeatIsStillAsOldAsItIs) {
  RankTable table;
  table.keep(beat_of(0, 1, 1), 10);
  table.keep(beat_of(0, 1, 1), 10);
  table.keep(beat_of(0, 1, 1), 15);
  EXPECT_EQ(table.ranks().at(0).at, 15);
  EXPECT_EQ(table.ranks().at(0).progress_at, 10) << "it said nothing new";
  table.keep(beat_of(0, 1, 2), 16);
  EXPECT_EQ(table.ranks().at(0).progress_at, 16);
}

TEST(RankTableTest, CallsAreProgressToo) {
  RankTable table;
  table.keep(beat_of(0, 1, 1), 10);
  proto::Heartbeat beat = beat_of(0, 1, 1);
  beat.set_calls(5);
  table.keep(beat, 11);
  EXPECT_EQ(table.ranks().at(0).progress_at, 11);
}

TEST(RankTableTest, TheTableSaysWhoWaitsForWhom) {
  RankTable table;
  table.keep(beat_of(0, 3, 5, "all_reduce data 8 bytes step 3"), 10);
  proto::Heartbeat works = beat_of(1, 3, 4);
  works.set_unfinished("exchange pipeline 64 bytes");
  table.keep(works, 11);
  EXPECT_THAT(table.text(20),
              AllOf(HasSubstr("waits for all_reduce data 8 bytes step 3\n"),
                    HasSubstr("works; unfinished: exchange pipeline 64 bytes\n"), HasSubstr("1001"),
                    HasSubstr("align"), HasSubstr("10.0 s"), HasSubstr("2 has sent no beat")));
}

TEST(RankTableTest, SilenceCountsBeforeWaiting) {
  RankTable table;
  table.keep(beat_of(0, 3, 5, "barrier world"), 100);
  table.keep(beat_of(1, 3, 5), 100);
  table.keep(beat_of(2, 3, 5, "barrier world"), 10);
  EXPECT_THAT(table.who_holds_up(101, 20, "align").ranks, ElementsAre(2));
  EXPECT_THAT(table.who_holds_up(101, 200, "align").ranks, ElementsAre(1));
}

/// Jobs side by side: whoever works in another one holds nobody up.
TEST(RankTableTest, OnlyRanksOfTheJobThatStandsStillHoldItUp) {
  RankTable table;
  for (int rank = 0; rank < 4; ++rank) {
    proto::Heartbeat beat = beat_of(rank, 3, 5, rank < 2 ? "all_reduce data" : "");
    if (rank >= 2) beat.set_job("other");
    beat.set_calls(rank == 1 ? 16 : 17);
    table.keep(beat, 100);
  }
  const auto culprits = table.who_holds_up(101, 20, "align");
  EXPECT_THAT(culprits.ranks, ElementsAre(1)) << culprits.reason;
}

TEST(RankTableTest, WhenAllWaitTheOnesBehindHoldUp) {
  RankTable table;
  for (int rank = 0; rank < 4; ++rank) {
    proto::Heartbeat beat = beat_of(rank, 3, 5, "all_reduce data");
    beat.set_calls(rank == 3 ? 16 : 17);
    table.keep(beat, 100);
  }
  EXPECT_THAT(table.who_holds_up(101, 20, "align").ranks, ElementsAre(3));
}

TEST(RankTableTest, NobodyIsNamedWhenNothingTells) {
  RankTable table;
  for (int rank = 0; rank < 3; ++rank) table.keep(beat_of(rank, 3, 5, "all_reduce data"), 100);
  EXPECT_THAT(table.who_holds_up(101, 20, "align").ranks, ElementsAre(3)) << "it never told";
  table.keep(beat_of(3, 3, 5, "all_reduce data"), 100);
  EXPECT_TRUE(table.who_holds_up(101, 20, "align").ranks.empty());
  EXPECT_TRUE(table.who_died_first().reason.empty());
}

TEST(RankTableTest, RanksThatWereToldOfAFailureAreNotItsOrigin) {
  RankTable table;
  proto::Heartbeat told = beat_of(0, 3, 5);
  told.set_failure("all_reduce data: rank 1: a peer aborted");
  told.set_peer_failed(true);
  table.keep(told, 100, /*gone_at=*/101);
  table.keep(beat_of(1, 3, 5), 100, /*gone_at=*/102);
  EXPECT_THAT(table.who_died_first().ranks, ElementsAre(1));
}

}  // namespace
}  // namespace halo::launch
