#include "launch/sweep/draw_trials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/base/error.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

proto::Sweep sweep_of(const std::string& text) {
  return parse_config("sweep { " + text + " }", "text").sweep();
}

TEST(DrawTrials, AGridIsEveryCombinationTheLastParameterFastest) {
  const auto trials = draw_trials(sweep_of(
      R"(parameter { path: "a" values: ["1", "2"] } parameter { path: "b" values: ["x", "y", "z"] })"));
  EXPECT_THAT(trials,
              ElementsAre(ElementsAre("1", "x"), ElementsAre("1", "y"), ElementsAre("1", "z"),
                          ElementsAre("2", "x"), ElementsAre("2", "y"), ElementsAre("2", "z")));
}

TEST(DrawTrials, ChoicesStandForTheirAssignments) {
  const proto::Sweep sweep = sweep_of(
      R"(parameter { path: "ablation" choice { name: "none" }
           choice { name: "no gates" set: "train.a=false" set: "train.b=false" } })");
  EXPECT_THAT(draw_trials(sweep), ElementsAre(ElementsAre("none"), ElementsAre("no gates")));
  EXPECT_THAT(assignments(sweep.parameter(0), "none"), ElementsAre());
  EXPECT_THAT(assignments(sweep.parameter(0), "no gates"),
              ElementsAre("train.a=false", "train.b=false"));
  EXPECT_THAT(assignments(sweep_of(R"(parameter { path: "seed" values: "7" })").parameter(0), "7"),
              ElementsAre("seed=7"));
}

constexpr const char* kRanges =
    R"(parameter { path: "train.optimizer.lr" low: 1e-5 high: 1e-1 logarithmic: true }
       parameter { path: "train.steps" low: 10 high: 20 } parameter { path: "x" values: ["a", "b"] })";

TEST(DrawTrials, RangesAreFilledAsTheySay) {
  const auto trials = draw_trials(sweep_of(str("strategy: RANDOM trials: 400 ", kRanges)));
  ASSERT_EQ(trials.size(), 400U);
  int below_the_middle = 0;
  std::set<std::string> steps;
  for (const auto& trial : trials) {
    const double lr = std::stod(trial[0]);
    EXPECT_TRUE(lr >= 1e-5 && lr <= 1e-1) << trial[0];
    below_the_middle += lr < 1e-3 ? 1 : 0;
    steps.insert(trial[1]);
  }
  EXPECT_NEAR(below_the_middle, 200, 60) << "1e-3 is the middle of the decades";
  EXPECT_EQ(steps.size(), 11U) << "whole numbers from 10 to 20";
  EXPECT_TRUE(steps.contains("10") && steps.contains("20"));
}

TEST(DrawTrials, MoreTrialsBeginWithTheSameOnesAndNoneComesTwice) {
  const auto few = draw_trials(sweep_of(str("strategy: RANDOM trials: 30 ", kRanges)));
  const auto many = draw_trials(sweep_of(str("strategy: RANDOM trials: 90 ", kRanges)));
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
  const auto others = draw_trials(sweep_of(str("strategy: RANDOM trials: 30 seed: 1 ", kRanges)));
  EXPECT_NE(few, others);
  const auto all = draw_trials(sweep_of(
      R"(strategy: RANDOM trials: 6 parameter { path: "a" values: ["1", "2"] }
         parameter { path: "b" values: ["x", "y", "z"] })"));
  EXPECT_EQ((std::set<std::vector<std::string>>(all.begin(), all.end()).size()), 6U);
}

TEST(DrawTrials, HalvingWithoutANumberTakesTheGrid) {
  EXPECT_EQ(
      draw_trials(
          sweep_of(R"(strategy: SUCCESSIVE_HALVING parameter { path: "a" values: ["1", "2"] })"))
          .size(),
      2U);
}

struct Bad {
  const char* sweep;
  const char* message;
};
class BadSweep : public testing::TestWithParam<Bad> {};

TEST_P(BadSweep, IsToldWhatIsWrong) {
  try {
    std::ignore = draw_trials(sweep_of(GetParam().sweep));
    ADD_FAILURE() << "was taken: " << GetParam().sweep;
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BadSweep,
    testing::Values(
        Bad{"", "sweep has no parameter"},
        Bad{R"(parameter { values: "1" })", "sweep.parameter[0].path is missing"},
        Bad{R"(parameter { path: "a" })", "[a]: give one of values, choice, and low with high"},
        Bad{R"(parameter { path: "a" values: "1" low: 1 high: 2 })", "give one of values"},
        Bad{R"(parameter { path: "a" values: ["1", "1"] })", "[a]: \"1\" stands there twice"},
        Bad{R"(parameter { path: "a" values: "1" } parameter { path: "a" values: "2" })",
            "the path stands there twice"},
        Bad{R"(parameter { path: "a" low: 1 high: 2 })", "a range has no values to combine"},
        Bad{R"(strategy: RANDOM trials: 3 parameter { path: "a" low: 2 high: 1 })",
            "low must be below high"},
        Bad{R"(strategy: RANDOM trials: 3 parameter { path: "a" low: 0 high: 1 logarithmic: true })",
            "a logarithmic range is above 0"},
        Bad{R"(strategy: RANDOM parameter { path: "a" values: "1" })", "sweep.trials is missing"},
        Bad{R"(strategy: RANDOM trials: 3 parameter { path: "a" values: ["1", "2"] })",
            "sweep.trials is 3 and there are 2 combinations"},
        Bad{R"(strategy: RANDOM trials: 12 parameter { path: "train.steps" low: 1 high: 3 })",
            "hardly more than 3 trials that differ"},
        Bad{R"(strategy: RANDOM trials: 2000 parameter { path: "train.optimizer.lr" low: 1 high: 3 })",
            "there can be 1000"},
        Bad{R"(trials: 3 parameter { path: "a" values: ["1", "2"] })",
            "a GRID has every combination"},
        Bad{R"(strategy: RANDOM trials: 2 parameter { path: "train.optimiser.lr" low: 1 high: 3 })",
            "did you mean \"optimizer\"?"}));

TEST(DrawTrials, TooLargeAGridIsRefused) {
  std::string text;
  for (int p = 0; p < 40; ++p)
    text += str("parameter { path: \"p", p, "\" values: [\"1\", \"2\", \"3\"] } ");
  EXPECT_THROW(std::ignore = draw_trials(sweep_of(text)), InputError);
}

}  // namespace
}  // namespace halo::launch
