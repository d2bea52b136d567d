// What `halo plan` chooses and tells of layouts.
#include <gtest/gtest.h>

#include <chrono>

#include "core/base/file.h"
#include "launch/plan/layout_plan.h"
#include "tests/runs/program.h"

namespace halo::test {
namespace {

using launch::Config;
using launch::LayoutPlan;

/// A config that distils a Qwen3 of `layers` layers with 8B's sizes otherwise; there are no weights and no tokens.
Config distill(const TestFolder& folder, int layers, std::int64_t length, std::int64_t sequences,
               const std::string& more = "") {
  write_file_atomically(
      folder / "config.json",
      str(R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096,
  "intermediate_size": 12288, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
  "vocab_size": 151936, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false,
  "max_position_embeddings": 40960, "hidden_act": "silu", "attention_bias": false,
  "num_hidden_layers": )",
          layers, "}"));
  const std::string text =
      str("precision: BF16 ", more, " job { name: \"distill\" train { stage: DISTILL teacher: \"",
          folder.path().string(), "\" keep_attention: [0, ", layers / 2,
          "] data { tokens: \"x.h5\" sequence_length: ", length,
          " } batch { sequences: ", sequences, " } steps: 10 optimizer { lr: 1e-4 } } }");
  return launch::resolve(launch::parse_config(text, "test"), "test");
}

launch::proto::Machine machine_of(double memory_gib) {
  launch::proto::Machine machine = launch::read_machine("h100");
  machine.set_memory_gib(memory_gib);
  return machine;
}

std::vector<LayoutPlan> plans_of(const Config& config, int ranks,
                                 const launch::proto::Machine& machine) {
  return launch::plan_layouts(config, config.job(0), ranks, machine, 20);
}

TEST(LayoutPlansTest, FastestFirstAndThoseThatFitBeforeOthers) {
  const TestFolder folder;
  const launch::proto::Machine machine = machine_of(20);
  const std::vector<LayoutPlan> plans = plans_of(distill(folder, 8, 4096, 64), 16, machine);
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
  const Config config = distill(folder, 8, 32768, 16);
  const LayoutPlan rich = plans_of(config, 16, machine_of(1000)).front();
  EXPECT_FALSE(rich.recompute);
  bool recomputes = false;
  for (const LayoutPlan& plan :
       plans_of(config, 16, machine_of(0.5 * rich.fullest.peak / (1 << 30))))
    recomputes = recomputes || plan.recompute;
  EXPECT_TRUE(recomputes);
}

TEST(LayoutPlansTest, NoMoreDataRanksThanSequences) {
  const TestFolder folder;
  for (const LayoutPlan& plan : plans_of(distill(folder, 4, 1024, 2), 16, machine_of(79)))
    EXPECT_LE(plan.layout.data, 2);
  // Eight of the tensor axis, four stages, and two of the data axis are the most there can be.
  EXPECT_THROW(plans_of(distill(folder, 4, 64, 1), 64, machine_of(79)), InputError);
}

/// Traffic of a step that was run with some of its micro-batches is that of the whole step.
TEST(LayoutPlansTest, TrafficCountsEveryMicroBatch) {
  const TestFolder folder;
  const Config config = distill(folder, 4, 256, 24);
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
