#include "launch/sweep/halving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;

proto::Halving halving(std::int64_t min_steps, int reduction) {
  proto::Halving text;
  text.set_min_steps(min_steps);
  text.set_reduction(reduction);
  return text;
}

TEST(RungSteps, GrowByTheReductionAndEndWithTheWholeTrial) {
  EXPECT_THAT(rung_steps(halving(10, 3), 270), ElementsAre(10, 30, 90, 270));
  EXPECT_THAT(rung_steps(halving(10, 3), 271), ElementsAre(10, 30, 90, 270, 271));
  EXPECT_THAT(rung_steps(halving(10, 3), 100), ElementsAre(10, 30, 90, 100));
  EXPECT_THAT(rung_steps(halving(99, 2), 100), ElementsAre(99, 100));
  const std::int64_t most = std::int64_t{1} << 40;
  EXPECT_EQ(rung_steps(halving(1, 1 << 30), most).size(), 3U);
}

std::vector<RungResult> results(const std::vector<std::optional<double>>& objectives) {
  std::vector<RungResult> all;
  for (const auto& objective : objectives)
    all.push_back({std::string(1, static_cast<char>('a' + all.size())), objective, "", false});
  return all;
}
std::string survivors(std::vector<RungResult> all, int reduction) {
  decide_rung(all, reduction);
  std::string names;
  for (const RungResult& result : all)
    if (result.goes_on) names += result.job;
  return names;
}

TEST(DecideRung, TheBestGoOnAndTiesGoToTheEarlier) {
  EXPECT_EQ(survivors(results({5, 1, 4, 2, 3, 6, 7}), 3), "bd");
  EXPECT_EQ(survivors(results({2, 1, 1, 1}), 2), "bc");
  EXPECT_EQ(survivors(results({2, 1}), 3), "b") << "one always does";
  EXPECT_EQ(survivors(results({1}), 2), "a");
}

TEST(DecideRung, WhoFailedTakesNoPlace) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(survivors(results({std::nullopt, 3, nan, 2, inf, 1}), 2), "bdf");
  EXPECT_EQ(survivors(results({std::nullopt, nan}), 2), "");
}

TEST(RungFile, IsReadBackExactly) {
  const test::TemporaryFolder folder;
  Rung rung{30, results({0.1 + 0.2, std::nullopt})};
  rung.results[0].goes_on = true;
  rung.results[1].reason = "rank 1: a \"loss\"\nis not finite";
  write_rung(rung_file(folder.path(), 2), rung);
  const Rung read = read_rung(folder.path() / "rungs/2.json");
  EXPECT_EQ(read.steps, 30);
  ASSERT_EQ(read.results.size(), 2U);
  EXPECT_EQ(read.results[0].objective, 0.1 + 0.2);
  EXPECT_TRUE(read.results[0].goes_on);
  EXPECT_EQ(read.results[1].objective, std::nullopt);
  EXPECT_EQ(read.results[1].reason, rung.results[1].reason);
  write_file_atomically(folder.path() / "bad.json", "{\"steps\": 3, \"jobs\": [{\"job\": 1}]}");
  EXPECT_THROW(std::ignore = read_rung(folder.path() / "bad.json"), InputError);
}

TEST(PauseFile, SaysWhatWasMeasuredThere) {
  const test::TemporaryFolder folder;
  EXPECT_FALSE(read_pause(folder.path(), 7).has_value());
  write_pause(folder.path(), {7, 1.0 / 3, 2.5});
  write_pause(folder.path(), {21, 0.25, 2});
  EXPECT_FALSE(read_pause(folder.path(), 8).has_value());
  EXPECT_EQ(read_pause(folder.path(), 21)->validation_loss, 0.25);
  const auto pause = read_pause(folder.path(), 7);
  ASSERT_TRUE(pause.has_value());
  EXPECT_EQ(pause->step, 7);
  proto::Sweep sweep;
  EXPECT_EQ(objective_of(sweep, *pause), 1.0 / 3);
  sweep.set_objective("loss");
  EXPECT_EQ(objective_of(sweep, *pause), 2.5);
  write_pause(folder.path(), {7, std::nullopt, std::nan("")});
  EXPECT_FALSE(read_pause(folder.path(), 21).has_value()) << "what came after is computed anew";
  EXPECT_EQ(objective_of(sweep, *read_pause(folder.path(), 7)), std::nullopt);
}

}  // namespace
}  // namespace halo::launch
