#include "launch/supervisor/supervision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/health/beats.h"

namespace halo::launch {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr Ending kKilled{0, 9};

/// Four ranks of a run that is told of by the second.
class SupervisionTest : public testing::Test {
 protected:
  void begin(SupervisionLimits limits = {}) {
    supervision_ = std::make_unique<Supervision>(limits);
    supervision_->began(now_);
  }
  /// A second in which the ranks of `alive` pass points, those of `stuck` beat without getting on.
  std::optional<std::string> second(const std::vector<int>& alive,
                                    const std::vector<int>& stuck = {}, std::int64_t step = 3,
                                    const std::string& call = "all_reduce data 8 bytes") {
    now_ += 1;
    ++points_;
    for (const int rank : alive) supervision_->beat(beat_of(rank, step, points_), now_);
    for (const int rank : stuck) supervision_->beat(beat_of(rank, step, 1, call), now_);
    return supervision_->tick(now_);
  }
  std::optional<std::string> seconds(int n, const std::vector<int>& alive,
                                     const std::vector<int>& stuck = {}) {
    std::optional<std::string> complaint;
    for (int i = 0; i < n && !complaint; ++i) complaint = second(alive, stuck);
    return complaint;
  }
  Supervision::Next fail_at(std::int64_t step, const Ending& ending, bool saved = false) {
    supervision_->began(now_);
    proto::Heartbeat beat = beat_of(0, step, ++points_);
    beat.set_saved(saved ? 1 : 0);
    supervision_->beat(beat, now_);
    return supervision_->ended(ending);
  }

  double now_ = 1000;
  std::int64_t points_ = 1;
  std::unique_ptr<Supervision> supervision_;
};

TEST_F(SupervisionTest, NothingIsSaidOfARunThatGetsOn) {
  begin();
  EXPECT_EQ(seconds(5000, {0, 1, 2, 3}), std::nullopt);
}

TEST_F(SupervisionTest, ASilentRankIsNamedOnceItsTimeIsOver) {
  begin({.hang_timeout = 20});
  ASSERT_EQ(seconds(5, {0, 1, 2, 3}), std::nullopt);
  ASSERT_EQ(seconds(20, {0, 1, 3}), std::nullopt);
  const auto complaint = seconds(2, {0, 1, 3});
  ASSERT_TRUE(complaint);
  EXPECT_THAT(*complaint,
              AllOf(HasSubstr("no beat for 20 s"), HasSubstr("rank 2 (host n1, pid 1002)"),
                    HasSubstr("align, step 3"), Not(HasSubstr("rank 1"))));
  EXPECT_EQ(seconds(100, {0, 1, 3}), std::nullopt) << "told twice";
}

TEST_F(SupervisionTest, TheRankThatOthersWaitForIsTheCulprit) {
  begin({.step_timeout = 30});
  ASSERT_EQ(seconds(5, {0, 1, 2, 3}), std::nullopt);
  std::optional<std::string> complaint;
  for (int i = 0; i < 40 && !complaint; ++i) {
    now_ += 1;
    for (const int rank : {0, 2, 3})
      supervision_->beat(beat_of(rank, 3, 50, "all_reduce data 8 bytes"), now_);
    supervision_->beat(beat_of(1, 3, 49), now_);
    complaint = supervision_->tick(now_);
  }
  ASSERT_TRUE(complaint);
  EXPECT_THAT(*complaint, AllOf(HasSubstr("no progress for 30 s"), HasSubstr("all_reduce data"),
                                HasSubstr("rank 1 (host n0"), Not(HasSubstr("rank 2"))));
}

/// Two jobs side by side: whoever works in the other one is not to blame, and the failure is at the culprit's step.
TEST_F(SupervisionTest, RanksOfAnotherJobAreNotBlamed) {
  begin({.step_timeout = 30});
  std::optional<std::string> complaint;
  for (int i = 0; i < 40 && !complaint; ++i) {
    now_ += 1;
    ++points_;
    for (const int rank : {0, 1}) {
      proto::Heartbeat other = beat_of(rank, 100 + i, points_);
      other.set_job("other");
      supervision_->beat(other, now_);
    }
    supervision_->beat(beat_of(2, 3, 1, "all_reduce data 8 bytes"), now_);
    supervision_->beat(beat_of(3, 3, 1), now_);
    complaint = supervision_->tick(now_);
  }
  ASSERT_TRUE(complaint);
  EXPECT_THAT(*complaint, AllOf(HasSubstr("rank 3 (host n1"), Not(HasSubstr("rank 0 ")),
                                Not(HasSubstr("rank 1 "))));
  EXPECT_THAT(supervision_->ended(kKilled).message, HasSubstr("it failed at step 3 of job align"));
}

TEST_F(SupervisionTest, AStepMayTakeTenTimesTheSlowestSoFar) {
  begin();
  EXPECT_EQ(supervision_->step_limit("align"), 600) << "before any step";
  for (int step = 0; step < 4; ++step) {
    supervision_->beat(beat_of(0, step, ++points_), now_);
    now_ += 40;
  }
  EXPECT_EQ(supervision_->step_limit("align"), 400);
  supervision_->began(now_);
  EXPECT_EQ(supervision_->step_limit("align"), 400) << "a restart knows it too";
}

TEST_F(SupervisionTest, AnotherJobsStepsAreNotMeasuredByTheFirstOnes) {
  begin();
  for (int step = 0; step < 100; ++step) supervision_->beat(beat_of(0, step, ++points_), now_ += 1);
  EXPECT_EQ(supervision_->step_limit("distill"), 600);
}

/// It was asked to end since it hung, and saved in the end.
TEST_F(SupervisionTest, AHangThatEndsWellIsStillAHang) {
  begin({.step_timeout = 5});
  ASSERT_TRUE(seconds(100, {0, 1, 2}, {3}));
  EXPECT_TRUE(supervision_->ended({0, 0}).restarts);
}

TEST_F(SupervisionTest, FastStepsStillHaveAMinute) {
  begin();
  for (int step = 0; step < 100; ++step) supervision_->beat(beat_of(0, step, ++points_), now_ += 1);
  EXPECT_EQ(supervision_->step_limit("align"), 60);
}

TEST_F(SupervisionTest, LoadingHasATimeOfItsOwnAndOtherJobsHaveNone) {
  begin({.step_timeout = 5, .phase_timeout = 100});
  for (const auto& [phase, complains] : {std::pair("loading", true), std::pair("job", false)}) {
    supervision_->began(now_);
    std::optional<std::string> complaint;
    for (int i = 0; i < 200 && !complaint; ++i) {
      now_ += 1;
      for (int rank = 0; rank < 4; ++rank) {
        proto::Heartbeat beat = beat_of(rank, -1, 1);
        beat.set_phase(phase);
        supervision_->beat(beat, now_);
      }
      complaint = supervision_->tick(now_);
      ASSERT_TRUE(i >= 100 || !complaint) << phase << i;
    }
    EXPECT_EQ(complaint.has_value(), complains) << phase;
  }
}

TEST_F(SupervisionTest, ARankThatNeverComesIsMissed) {
  begin({.start_timeout = 50});
  ASSERT_EQ(seconds(50, {0, 1, 3}), std::nullopt);
  const auto complaint = second({0, 1, 3});
  ASSERT_TRUE(complaint);
  EXPECT_THAT(*complaint, HasSubstr("1 of 4 ranks have sent no beat within 50 s, rank 2"));
}

TEST_F(SupervisionTest, RanksThatHaveEndedMaySayNoMore) {
  begin({.hang_timeout = 10, .step_timeout = 10});
  for (int rank = 0; rank < 3; ++rank) {
    proto::Heartbeat beat = beat_of(rank, 3, 9);
    beat.set_phase("ended");
    supervision_->beat(beat, now_);
  }
  EXPECT_EQ(seconds(100, {3}), std::nullopt);
}

/// A supervisor that was itself stopped finds all beats old.
TEST_F(SupervisionTest, ItsOwnPauseIsNotTheRanksFault) {
  begin({.hang_timeout = 20});
  ASSERT_EQ(seconds(5, {0, 1, 2, 3}), std::nullopt);
  now_ += 3600;
  EXPECT_EQ(supervision_->tick(now_), std::nullopt);
  EXPECT_EQ(seconds(5, {0, 1, 2, 3}), std::nullopt);
  EXPECT_NE(seconds(30, {0, 1, 2}), std::nullopt) << "but watches on";
}

TEST_F(SupervisionTest, EndsThatAreNoFailuresAreNotRepeated) {
  begin();
  EXPECT_FALSE(supervision_->ended({0, 0}).restarts);
  EXPECT_EQ(supervision_->ended({0, 0}).code, 0);
  const auto bad = supervision_->ended({2, 0});
  EXPECT_FALSE(bad.restarts);
  EXPECT_EQ(bad.code, 2);
  EXPECT_EQ(supervision_->ended({127, 0}).code, 127);
}

TEST_F(SupervisionTest, RestartsWaitLongerEachTimeUpToTheirNumber) {
  begin({.max_restarts = 4, .backoff = 2});
  std::vector<double> waits;
  Supervision::Next next;
  for (int step = 0; (next = fail_at(step, kKilled)).restarts; ++step) waits.push_back(next.after);
  EXPECT_THAT(waits, testing::ElementsAre(2, 4, 8, 16));
  EXPECT_EQ(next.code, 1);
  EXPECT_THAT(next.message, HasSubstr("given up after 4 restarts"));
}

TEST_F(SupervisionTest, ACheckpointBeginsTheCountAnew) {
  begin({.max_restarts = 2, .backoff = 1});
  for (int i = 0; i < 20; ++i) {
    const auto next = fail_at(10 + i, kKilled, /*saved=*/true);
    ASSERT_TRUE(next.restarts) << i;
    EXPECT_EQ(next.after, 1);
  }
}

TEST_F(SupervisionTest, TheSameFailureThreeTimesAtOneStepIsGivenUp) {
  begin();
  EXPECT_TRUE(fail_at(7, {1, 0}, /*saved=*/true).restarts);
  EXPECT_TRUE(fail_at(7, {1, 0}, true).restarts);
  const auto last = fail_at(7, {1, 0}, true);
  EXPECT_FALSE(last.restarts);
  EXPECT_THAT(last.message,
              AllOf(HasSubstr("3 times in a row at step 7 of job align"), HasSubstr("code 1")));
  begin();
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(fail_at(i % 2, {1, 0}).restarts) << "other steps";
}

TEST_F(SupervisionTest, AFailureIsToldInTheRanksOwnWords) {
  begin();
  proto::Heartbeat told = beat_of(1, 6, 7);  // it had gone ahead
  told.set_failure("a peer aborted");
  told.set_peer_failed(true);
  supervision_->beat(told, now_);
  proto::Heartbeat own = beat_of(3, 5, 7);
  own.set_failure("loss nan");
  supervision_->beat(own, now_);
  EXPECT_THAT(supervision_->ended({1, 0}).message,
              AllOf(HasSubstr("at step 5"), HasSubstr("rank 3"), HasSubstr("loss nan"),
                    Not(HasSubstr("a peer aborted"))));
}

TEST_F(SupervisionTest, WhoseConnectionIsLostFirstHasDied) {
  begin();
  for (int rank = 0; rank < 4; ++rank)
    supervision_->beat(beat_of(rank, 5, 7), now_, rank == 2 ? now_ + 0.1 : now_ + 0.2);
  EXPECT_THAT(supervision_->ended({137, 0}).message,
              HasSubstr("first to go without a word: rank 2"));
}

TEST_F(SupervisionTest, ARunThatWasAskedToStopIsNotStartedAgain) {
  begin();
  second({0, 1, 2, 3});
  supervision_->asked_to_stop();
  EXPECT_EQ(supervision_->ended({0, 0}).code, 0);
  const auto failed = supervision_->ended({1, 0});
  EXPECT_FALSE(failed.restarts);
  EXPECT_EQ(failed.code, 1);
  supervision_->began(now_);
  EXPECT_EQ(supervision_->ended({0, 10}).code, 0) << "it was met before it began";
}

class SlowRankTest : public SupervisionTest {
 protected:
  int lines(int steps, const std::vector<double>& own_seconds) {
    int told = 0;
    for (int i = 0; i < steps; ++i) {
      ++step_;
      now_ += 1;
      for (int rank = 0; rank < 4; ++rank) {
        proto::Heartbeat beat = beat_of(rank, step_, ++points_);
        beat.set_own_seconds(own_seconds[static_cast<std::size_t>(rank)]);
        supervision_->beat(beat, now_);
      }
      if (const auto line = supervision_->slow_rank(now_)) {
        ++told;
        EXPECT_THAT(*line, HasSubstr("rank 2"));
      }
    }
    return told;
  }
  std::int64_t step_ = 0;
};

TEST_F(SlowRankTest, ASteadilySlowRankIsNamedOnceInAWhile) {
  begin();
  EXPECT_EQ(lines(9, {1, 1, 1.6, 1}), 0);
  EXPECT_EQ(lines(200, {1, 1, 1.6, 1}), 1);
  EXPECT_EQ(lines(200, {1, 1, 1.6, 1}), 1) << "five minutes later";
}

TEST_F(SlowRankTest, OtherwiseNobodyIs) {
  begin();
  EXPECT_EQ(lines(100, {1, 1.2, 1.4, 1}), 0);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(lines(5, {1, 1, 3, 1}) + lines(1, {1, 1, 1, 1}), 0);
  EXPECT_EQ(lines(100, {0.001, 0.001, 0.01, 0.001}), 0) << "noise";
}

}  // namespace
}  // namespace halo::launch
