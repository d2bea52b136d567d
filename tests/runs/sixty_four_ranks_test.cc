// Sixty-four processes on one host: one rank's numbers, and each rank's peak memory as planned.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "launch/plan/layout_plan.h"
#include "tests/runs/small_run.h"

namespace halo::test {
namespace {

TEST(SixtyFourRanksTest, GiveOneRanksResultsInThePlannedMemory) {
  const SmallRun small(SmallModelOptions{});
  const LayoutCase c{{2, 4, 4, 2}, 2, "RING", "SCAN", false, true, 1000};
  ASSERT_EQ(c.layout.ranks(), 64);
  small.expect_one_ranks_results(c, /*processes=*/true);

  // One more step, which does not gather gradients for a file.
  std::vector<std::string> settings = small.settings(c);
  settings.emplace_back("train.steps=3");
  run_on_processes(64, {small.model().config(), small.output(c), settings});

  launch::Config config = launch::read_config(small.model().config().string());
  for (const std::string& setting : settings) launch::apply_override(config, setting);
  config.set_output(small.output(c).string());
  const launch::Config resolved = launch::resolve(config, "small");
  const launch::proto::Machine machine = launch::read_machine("h100");
  for (const launch::proto::Job& job : resolved.job()) {
    const auto summary =
        nlohmann::json::parse(read_file(small.output(c) / job.name() / "summary.json"));
    const auto peaks = summary.at("peak_bytes").get<std::vector<double>>();
    ASSERT_EQ(peaks.size(), 64U);
    for (int rank = 0; rank < 64; ++rank) {
      SCOPED_TRACE(str(job.name(), " rank ", rank));
      const launch::RankPlan plan = launch::plan_rank(resolved, job, rank, c.layout, machine);
      const double real = peaks[static_cast<std::size_t>(rank)];
      EXPECT_NEAR(plan.peak, real, 0.05 * real);
    }
  }
}

}  // namespace
}  // namespace halo::test
