#include "core/train/step_guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "core/base/error.h"

namespace halo::train {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A step that is bad in both tries; the verdict on the second one.
Verdict bad_step(StepGuard& guard, std::int64_t step) {
  EXPECT_EQ(guard.judge(step, kNan, 1.0), Verdict::kComputeAgain);
  return guard.judge(step, kNan, 1.0);
}

TEST(StepGuardTest, WhatIsFiniteAtTheSecondTryLeavesNoTrace) {
  StepGuard guard({});
  EXPECT_EQ(guard.judge(0, 2.0, 1.0), Verdict::kAccept);
  EXPECT_EQ(guard.judge(1, kNan, 1.0), Verdict::kComputeAgain);
  EXPECT_EQ(guard.judge(1, 2.0, 1.0), Verdict::kAccept);
  EXPECT_EQ(guard.judge(2, 2.0, kInfinity), Verdict::kComputeAgain) << "each step has two tries";
  EXPECT_EQ(guard.judge(2, 2.0, 1.0), Verdict::kAccept);
  EXPECT_EQ(guard.state(), GuardState{});
  EXPECT_FALSE(guard.in_trouble());
}

TEST(StepGuardTest, ABadStepIsSkippedAndNeighboursAreOneRange) {
  StepGuard guard({});
  EXPECT_EQ(bad_step(guard, 4), Verdict::kSkip);
  EXPECT_EQ(bad_step(guard, 5), Verdict::kSkip);
  EXPECT_TRUE(guard.in_trouble());
  EXPECT_EQ(guard.judge(6, 1.0, 1.0), Verdict::kAccept);
  EXPECT_FALSE(guard.in_trouble());
  EXPECT_EQ(bad_step(guard, 7), Verdict::kSkip) << "the row has begun anew";
  EXPECT_EQ(guard.state().skipped, (std::vector<StepRange>{{4, 6}, {7, 8}}));
}

TEST(StepGuardTest, ThreeInARowGoBackToBeforeTheFirst) {
  StepGuard guard({});
  std::ignore = bad_step(guard, 10);
  std::ignore = bad_step(guard, 11);
  EXPECT_EQ(bad_step(guard, 12), Verdict::kRollBack);
  EXPECT_EQ(guard.rollback().newest, 10);
  EXPECT_EQ(guard.rollback().next, 13);
  GuardState then;
  then.skipped = {{2, 3}};
  guard.roll_back(then, 8);
  EXPECT_EQ(guard.state().skipped, (std::vector<StepRange>{{2, 3}, {8, 13}}));
  EXPECT_EQ(guard.state().rollbacks, 1);
  EXPECT_TRUE(guard.in_trouble()) << "an older checkpoint may be wanted";
  EXPECT_EQ(guard.judge(13, 1.0, 1.0), Verdict::kAccept);
  EXPECT_FALSE(guard.in_trouble());
}

TEST(StepGuardTest, WeightsThatWereBroughtBackInVainAreFollowedByOlderOnes) {
  StepGuard guard({});
  for (const std::int64_t step : {10, 11, 12}) std::ignore = bad_step(guard, step);
  guard.roll_back({}, 8);
  for (const std::int64_t step : {13, 14}) EXPECT_EQ(bad_step(guard, step), Verdict::kSkip);
  EXPECT_EQ(bad_step(guard, 15), Verdict::kRollBack);
  EXPECT_EQ(guard.rollback().newest, 7);
  EXPECT_THROW(guard.roll_back({}, 8), Error);
  guard.roll_back({}, 4);
  EXPECT_EQ(guard.state().skipped, (std::vector<StepRange>{{4, 16}}));
}

TEST(StepGuardTest, FirstWeightsThatAreBadAreAFailure) {
  StepGuard guard({});
  for (const std::int64_t step : {0, 1, 2}) std::ignore = bad_step(guard, step);
  guard.roll_back({}, 0);
  for (const std::int64_t step : {3, 4}) std::ignore = bad_step(guard, step);
  EXPECT_EQ(bad_step(guard, 5), Verdict::kFail);
  EXPECT_NE(guard.reason().find("steps 3 to 5"), std::string::npos) << guard.reason();
}

TEST(StepGuardTest, RollbacksComeToAnEnd) {
  GuardOptions options;
  options.rollback_after = 1;
  options.max_rollbacks = 2;
  StepGuard guard(options);
  std::int64_t step = 10;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(bad_step(guard, step), Verdict::kRollBack);
    guard.roll_back({}, step - 5);
    EXPECT_EQ(guard.judge(step + 1, 1.0, 1.0), Verdict::kAccept);
    step += 10;
  }
  EXPECT_EQ(bad_step(guard, step), Verdict::kFail);
  EXPECT_NE(guard.reason().find("max_rollbacks is 2"), std::string::npos) << guard.reason();
}

TEST(StepGuardTest, WithoutSkippingABadStepIsAFailure) {
  GuardOptions options;
  options.skip_nonfinite = false;
  StepGuard guard(options);
  EXPECT_EQ(bad_step(guard, 3), Verdict::kFail);
  EXPECT_NE(guard.reason().find("step 3"), std::string::npos) << guard.reason();
}

TEST(StepGuardTest, WithoutRollbacksAnyNumberIsSkipped) {
  GuardOptions options;
  options.rollback_after = 0;
  StepGuard guard(options);
  for (std::int64_t step = 0; step < 100; ++step)
    ASSERT_EQ(bad_step(guard, step), Verdict::kSkip) << step;
}

TEST(StepGuardTest, ASpikeIsAboveTheMedianOfAFullWindow) {
  GuardOptions options;
  options.spike_factor = 3.0;
  options.spike_window = 5;
  StepGuard guard(options);
  std::int64_t step = 0;
  for (const double loss : {1.0, 100.0, 2.0, 3.0, 2.0})  // 100 comes before the window is full
    ASSERT_EQ(guard.judge(step++, loss, 1.0), Verdict::kAccept);
  EXPECT_EQ(guard.judge(step, 6.1, 1.0), Verdict::kComputeAgain);
  EXPECT_EQ(guard.judge(step, 6.1, 1.0), Verdict::kSkip);
  EXPECT_EQ(guard.judge(++step, 6.0, 1.0), Verdict::kAccept);
  EXPECT_EQ(guard.state().losses, (std::vector{100.0, 2.0, 3.0, 2.0, 6.0}));
}

TEST(StepGuardTest, AStateReadsBackExactly) {
  const GuardState state{{}, 2, 1, 7, {1.0 / 3, 1e-310, 12345.678}};
  EXPECT_EQ(parse_guard_state(to_json(state), "note"), state);
  EXPECT_THROW(std::ignore = parse_guard_state("{\"streak\": -1}", "note"), InputError);
  EXPECT_THROW(std::ignore = parse_guard_state("[]", "note"), InputError);
}

/// A run that is told nothing but verdicts: what its weights have learned from, and its checkpoints.
class Model {
 public:
  Model(const GuardOptions& options, unsigned seed)
      : options_(options), guard_(options), random_(seed) {
    save();
  }
  /// Until 200 steps are done or the guard gives up.
  void run() {
    while (step_ < 200 && try_step()) check();
  }

 private:
  bool try_step() {
    const bool bad = random_() % 100 < badness_;
    if (random_() % 40 == 0) badness_ = random_() % 2 == 0 ? 10 : 80;
    const double loss = bad ? kNan : 1.0;
    const Verdict verdict = guard_.judge(step_, loss, 1.0);
    EXPECT_EQ(verdict == Verdict::kAccept, !bad);
    EXPECT_FALSE(verdict == Verdict::kComputeAgain && again_) << "a third try of step " << step_;
    again_ = verdict == Verdict::kComputeAgain;
    if (verdict == Verdict::kFail) {
      EXPECT_TRUE(rollbacks_ == options_.max_rollbacks || guard_.state().rolled_back_to == 0);
      return false;
    }
    if (again_) return true;
    if (verdict == Verdict::kRollBack) {
      roll_back();
      return true;
    }
    if (verdict == Verdict::kAccept) learned_.push_back(step_);
    ++step_;
    if (random_() % 5 == 0) save();
    if (random_() % 20 == 0) die();
    return true;
  }
  void save() { checkpoints_[step_] = {learned_, guard_.state()}; }
  void roll_back() {
    const StepGuard::Rollback rollback = guard_.rollback();
    EXPECT_EQ(rollback.next, step_ + 1);
    EXPECT_LE(rollback.newest, step_);
    auto newest = checkpoints_.upper_bound(rollback.newest);
    ASSERT_NE(newest, checkpoints_.begin());
    --newest;
    learned_ = newest->second.learned;
    guard_.roll_back(newest->second.state, newest->first);
    checkpoints_.erase(checkpoints_.upper_bound(newest->first), checkpoints_.end());
    step_ = rollback.next;
    ++rollbacks_;
    save();
  }
  /// The program ends and goes on from its newest checkpoint, whose notes are text.
  void die() {
    const auto& [step, saved] = *checkpoints_.rbegin();
    StepGuard fresh(options_);
    GuardState state = parse_guard_state(to_json(saved.state), "note");
    state.skipped = saved.state.skipped;
    fresh.restore(std::move(state));
    guard_ = fresh;
    learned_ = saved.learned;
    step_ = step;
    rollbacks_ = saved.state.rollbacks;
  }
  /// Each step was learned from or skipped, never both; ranges are in order and apart; counts are within their bounds.
  void check() {
    std::vector<int> times(static_cast<std::size_t>(step_), 0);
    for (const std::int64_t step : learned_) ++times.at(static_cast<std::size_t>(step));
    std::int64_t last = -1;
    for (const auto& [begin, end] : guard_.state().skipped) {
      ASSERT_LT(last, begin);
      ASSERT_LT(begin, end);
      ASSERT_LE(end, step_);
      for (std::int64_t step = begin; step < end; ++step)
        ++times.at(static_cast<std::size_t>(step));
      last = end;
    }
    ASSERT_TRUE(std::ranges::all_of(times, [](int n) { return n == 1; })) << "at step " << step_;
    ASSERT_EQ(guard_.state().rollbacks, rollbacks_);
    ASSERT_LE(rollbacks_, options_.max_rollbacks);
    if (options_.rollback_after > 0) {
      ASSERT_LT(guard_.state().streak, options_.rollback_after);
    }
  }

  struct Saved {
    std::vector<std::int64_t> learned;
    GuardState state;
  };
  GuardOptions options_;
  StepGuard guard_;
  std::mt19937 random_;
  unsigned badness_ = 10;  // percent of the tries
  std::int64_t step_ = 0;
  std::int64_t rollbacks_ = 0;
  bool again_ = false;
  std::vector<std::int64_t> learned_;
  std::map<std::int64_t, Saved> checkpoints_;
};

TEST(StepGuardTest, RandomRunsLearnFromEachStepOrSkipIt) {
  for (unsigned seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    GuardOptions options;
    options.rollback_after = seed % 5;
    options.max_rollbacks = seed % 7;
    Model(options, seed).run();
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace halo::train
