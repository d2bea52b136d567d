// 200 trials by successive halving in one mpirun that is killed twice at random.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tests/sweep/sweep_case.h"

namespace halo::test {
namespace {

TEST(ManyTrials, TwoHundredByHalvingKilledTwiceEachAsAlone) {
  const SweepCase sweep(
      R"(strategy: SUCCESSIVE_HALVING halving { reduction: 3 min_steps: 2 } trials: 200
      parameter { path: "job[distill].train.optimizer.lr" low: 1e-5 high: 1e-2 logarithmic: true }
      parameter { path: "job[distill].train.optimizer.beta2" low: 0.9 high: 0.999 }
      parameter { path: "job[distill].train.keep_attention" values: ["[0]", "[1]", "[2]", "[3]", "[1,3]"] })");
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < 2; ++i) {
    const std::size_t events = 203 + random() % 500;  // of about 870, the first 203 before any job
    const int milliseconds = static_cast<int>(random() % 300);
    EXPECT_TRUE(sweep.kill(3, "out", events, milliseconds)) << events << ' ' << milliseconds;
  }
  const ProgramResult result = sweep.run(3, "out");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto rows = sweep.table("out");
  ASSERT_EQ(rows.size(), 200U);
  std::set<std::string> trials;
  std::map<std::string, int> states;
  for (const auto& row : rows) {
    trials.insert(row.at("trial"));
    ++states[row.at("step") + ' ' + row.at("state")];
  }
  EXPECT_EQ(trials.size(), 200U);
  EXPECT_THAT(states, testing::ElementsAre(std::pair("18 done", 22), std::pair("2 dropped", 134),
                                           std::pair("6 dropped", 44)));
  for (const auto& row : rows) sweep.expect_as_alone("out", row);
}

}  // namespace
}  // namespace halo::test
