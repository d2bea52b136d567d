// What `halo plan` chooses and tells of layouts.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/file.h"
#include "launch/plan/layout_plan.h"
#include "tests/runs/planned_job.h"

namespace halo::test {
namespace {

using launch::Config;
using launch::LayoutPlan;

std::vector<LayoutPlan> plans_of(const Config& config, int ranks,
                                 const launch::proto::Machine& machine) {
  return launch::plan_layouts(config, config.job(0), ranks, machine, 20);
}

TEST(LayoutPlansTest, FastestFirstAndThoseThatFitBeforeOthers) {
  const TestFolder folder;
  const launch::proto::Machine machine = machine_of(20);
  const std::vector<LayoutPlan> plans = plans_of(distillation(folder, 8, 4096, 64), 16, machine);
  ASSERT_GT(plans.size(), 5U);
  for (std::size_t i = 0; i + 1 < plans.size(); ++i) {
    const bool fits = plans[i].fits(machine), next_fits = plans[i + 1].fits(machine);
    EXPECT_TRUE(fits || !next_fits) << i;
    if (fits == next_fits) {
      EXPECT_LE(plans[i].seconds, plans[i + 1].seconds) << i;
    }
  }
  for (const LayoutPlan& plan : plans) EXPECT_EQ(plan.layout.ranks(), 16);
}

TEST(LayoutPlansTest, ShortMemoryMakesItRecompute) {
  const TestFolder folder;
  const Config config = distillation(folder, 8, 32768, 16);
  const LayoutPlan rich = plans_of(config, 16, machine_of(1000)).front();
  EXPECT_FALSE(rich.recompute);
  const launch::proto::Machine poor = machine_of(0.5 * rich.fullest.peak / (1 << 30));
  const std::vector<LayoutPlan> plans = plans_of(config, 16, poor);
  EXPECT_EQ(launch::plan_layouts(config, config.job(0), 16, poor, 1).front().seconds,
            plans.front().seconds);
  bool recomputes = false;
  for (const LayoutPlan& plan : plans) recomputes = recomputes || plan.recompute;
  EXPECT_TRUE(recomputes);
}

TEST(LayoutPlansTest, NoMoreDataRanksThanSequences) {
  const TestFolder folder;
  for (const LayoutPlan& plan : plans_of(distillation(folder, 4, 1024, 2), 16, machine_of(79)))
    EXPECT_LE(plan.layout.data, 2);
  // Eight of the tensor axis, four stages, and two of the data axis are the most there can be.
  EXPECT_THROW(plans_of(distillation(folder, 4, 64, 1), 64, machine_of(79)), InputError);
}

TEST(LayoutPlansTest, TheConfigsOwnLayoutIsAmongThem) {
  const TestFolder folder;
  Config config = distillation(folder, 7, 1024, 3);
  const std::vector<LayoutPlan> data_alone = plans_of(config, 7, machine_of(79));
  ASSERT_EQ(data_alone.size(), 1U);  // four of its ranks have no sequence, but it runs
  EXPECT_EQ(data_alone.front().layout.data, 7);
  config.mutable_job(0)->mutable_layout()->set_pipeline(7);
  const std::vector<LayoutPlan> plans = plans_of(config, 7, machine_of(79));
  ASSERT_EQ(plans.size(), 1U);
  EXPECT_EQ(plans.front().layout.pipeline, 7);
}

/// Six query heads over three key heads on four ranks: the second rank holds two key heads, the last one.
TEST(LayoutPlansTest, TheFullestOfUnevenHeadsCounts) {
  const TestFolder folder;
  const Config config = distillation(folder, 2, 256, 1);
  std::string model = read_file(folder / "config.json");
  const std::vector<std::pair<std::string, std::string>> changes{
      {"\"num_attention_heads\": 32", "\"num_attention_heads\": 6"},
      {"\"num_key_value_heads\": 8", "\"num_key_value_heads\": 3"},
      {"\"vocab_size\": 151936", "\"vocab_size\": 128"}};  // whose cut does not hide it
  for (const auto& [from, to] : changes) {
    const std::size_t at = model.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    model.replace(at, from.size(), to);
  }
  write_file_atomically(folder / "config.json", model);
  launch::proto::Job job = config.job(0);
  job.mutable_layout()->set_tensor(4);
  const LayoutPlan plan =
      launch::plan_layout(config, job, 4, machine_of(79), launch::Effort::kAllStages);
  std::vector<double> peaks;
  for (int rank = 0; rank < 4; ++rank)
    peaks.push_back(launch::plan_rank(config, job, rank, plan.layout, machine_of(79)).peak);
  EXPECT_GT(peaks[1], peaks[3]);
  EXPECT_EQ(plan.fullest.peak, std::ranges::max(peaks));
}

/// What the sender sends, not what the receiver does not.
TEST(LayoutPlansTest, TheFullestSenderOfAPipelineCounts) {
  const TestFolder folder;
  const Config config = distillation(folder, 4, 256, 4);
  launch::proto::Job job = config.job(0);
  job.mutable_train()->mutable_batch()->set_micro_sequences(1);
  job.mutable_layout()->set_pipeline(2);
  const LayoutPlan plan =
      launch::plan_layout(config, job, 2, machine_of(79), launch::Effort::kAllStages);
  const double message = 256.0 * 4096 * 2;  // tokens of a micro-batch, D, bytes in BF16
  EXPECT_EQ(plan.traffic.at("pipeline forward").bytes, 4 * message);
  EXPECT_EQ(plan.traffic.at("pipeline teacher").bytes, 4 * message);
}

/// Traffic of a step that was run with some of its micro-batches is that of the whole step.
TEST(LayoutPlansTest, TrafficCountsEveryMicroBatch) {
  const TestFolder folder;
  const Config config = distillation(folder, 4, 256, 24);
  launch::proto::Job job = config.job(0);
  job.mutable_train()->mutable_batch()->set_micro_sequences(1);
  const parallel::Layout layout{.pipeline = 2, .data = 1, .context = 2, .tensor = 2};
  job.mutable_layout()->set_pipeline(2);
  job.mutable_layout()->set_context(2);
  job.mutable_layout()->set_tensor(2);
  for (const int rank : {0, 7}) {
    const auto whole = launch::plan_rank(config, job, rank, layout, machine_of(79), {0, false});
    const auto part = launch::plan_rank(config, job, rank, layout, machine_of(79), {9, false});
    ASSERT_EQ(whole.traffic.size(), part.traffic.size());
    for (const auto& [name, t] : whole.traffic) {
      EXPECT_EQ(t.calls, part.traffic.at(name).calls) << name;
      EXPECT_NEAR(t.bytes, part.traffic.at(name).bytes, 1e-9 * t.bytes) << name;
    }
    EXPECT_EQ(whole.peak, part.peak);
  }
}

}  // namespace
}  // namespace halo::test
