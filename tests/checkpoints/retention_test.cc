#include "checkpoints/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

namespace halo::checkpoints {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<KeptCheckpoint> without_losses(const std::vector<std::int64_t>& steps) {
  std::vector<KeptCheckpoint> stored;
  for (const std::int64_t step : steps) stored.push_back({step, std::nullopt});
  return stored;
}

TEST(RetentionTest, TheLastStayInAnyOrderOfTheList) {
  const auto stored = without_losses({30, 10, 50, 20, 40});
  EXPECT_THAT(steps_to_remove(stored, 50, {.keep_last = 2}), ElementsAre(10, 20, 30));
  EXPECT_THAT(steps_to_remove(stored, 50, {.keep_last = 9}), IsEmpty());
  EXPECT_THAT(steps_to_remove(stored, 50, {.keep_last = 0, .keep_every = 20}), IsEmpty());
  EXPECT_THAT(steps_to_remove({}, 50, {.keep_last = 1}), IsEmpty());
}

TEST(RetentionTest, EveryNthStays) {
  const auto stored = without_losses({10, 20, 30, 40, 50, 60});
  EXPECT_THAT(steps_to_remove(stored, 60, {.keep_last = 1, .keep_every = 20}),
              ElementsAre(10, 30, 50));
}

TEST(RetentionTest, LaterOnesAreNeitherCountedNorRemoved) {
  const auto stored = without_losses({10, 15, 20, 30});
  EXPECT_THAT(steps_to_remove(stored, 15, {.keep_last = 1}), ElementsAre(10));
}

TEST(RetentionTest, TheBestStays) {
  const std::vector<KeptCheckpoint> stored{{10, 3.0}, {20, 2.0},          {30, std::nan("")},
                                           {40, 2.0}, {50, std::nullopt}, {60, 4.0},
                                           {70, 1.0}};
  // The later of equal ones; 70 is not yet there for a run that went on from before it.
  EXPECT_THAT(steps_to_remove(stored, 60, {.keep_last = 1, .keep_best = true}),
              ElementsAre(10, 20, 30, 50));
  EXPECT_THAT(steps_to_remove(stored, 70, {.keep_last = 1, .keep_best = true}),
              ElementsAre(10, 20, 30, 40, 50, 60));
  EXPECT_THAT(steps_to_remove(without_losses({1, 2}), 2, {.keep_last = 1, .keep_best = true}),
              ElementsAre(1));
}

/// Over a run's life: what any rule keeps is there, the newest too, and nothing else.
TEST(RetentionTest, ARunsFolderHoldsWhatTheRulesSayAtAnyTime) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    const Retention rules{static_cast<int>(1 + random() % 4),
                          static_cast<std::int64_t>(random() % 4) * 3, random() % 2 == 0};
    std::vector<KeptCheckpoint> all, folder;
    for (std::int64_t step = 1; step <= 24; ++step) {
      const auto loss = random() % 3 == 0 ? std::nullopt : std::optional<double>(random() % 50);
      all.push_back({step, loss});
      folder.push_back({step, loss});
      const auto doomed = steps_to_remove(folder, step, rules);
      ASSERT_TRUE(std::ranges::is_sorted(doomed));
      std::erase_if(folder, [&](const KeptCheckpoint& c) {
        return std::ranges::find(doomed, c.step) != doomed.end();
      });
      double best = INFINITY;
      for (const auto& c : all) best = std::min(best, c.validation_loss.value_or(INFINITY));
      std::set<std::int64_t> expected;
      std::int64_t best_step = -1;
      for (const auto& c : all) {
        if (c.step > step - rules.keep_last) expected.insert(c.step);
        if (rules.keep_every > 0 && c.step % rules.keep_every == 0) expected.insert(c.step);
        if (c.validation_loss && *c.validation_loss == best) best_step = c.step;
      }
      if (rules.keep_best && best_step >= 0) expected.insert(best_step);
      std::set<std::int64_t> found;
      for (const auto& c : folder) found.insert(c.step);
      ASSERT_EQ(found, expected) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace halo::checkpoints
