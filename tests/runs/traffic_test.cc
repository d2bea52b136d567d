// What a training step sends along each axis, against the formulas of docs/performance.md. Planned calls are those of a real
// step (plan_test).
#include <gtest/gtest.h>

#include <cmath>

#include "launch/plan/rank_plan.h"
#include "tests/runs/planned_job.h"

namespace halo::test {
namespace {

constexpr int kLayers = 4, kAttention = 2, kLightning = 2;
constexpr double kD = 4096, kH = 32, kG = 8, kK = 128;
constexpr double kT = 512;
constexpr double kBf16 = 2, kFloat32 = 4;

/// One sequence in a micro-batch on the layout, `sequences` in a step.
class Step {
 public:
  Step(const parallel::Layout& layout, int sequences, const char* attention = "RING",
       const char* state = "RING")
      : layout_(layout), config_(distillation(folder_, kLayers, kT, sequences)) {
    launch::apply_override(config_, str("layout.pipeline=", layout.pipeline));
    launch::apply_override(config_, str("layout.context=", layout.context));
    launch::apply_override(config_, str("layout.tensor=", layout.tensor));
    launch::apply_override(config_, str("layout.context_attention=", attention));
    launch::apply_override(config_, str("layout.context_state=", state));
    launch::apply_override(config_, "train.batch.micro_sequences=1");
    *config_.mutable_job(0)->mutable_layout() = config_.layout();
  }

  [[nodiscard]] launch::RankPlan rank(int rank) const {
    return launch::plan_rank(config_, config_.job(0), rank, layout_, machine_of(79));
  }
  /// Of all ranks together along an axis.
  [[nodiscard]] double sent(const std::string& axis) const {
    double bytes = 0;
    for (int r = 0; r < layout_.ranks(); ++r) {
      const auto traffic = rank(r).traffic;
      if (const auto t = traffic.find(axis); t != traffic.end()) bytes += t->second.bytes;
    }
    return bytes;
  }

 private:
  TestFolder folder_;
  parallel::Layout layout_;
  launch::Config config_;
};

TEST(TrafficTest, TensorAxis) {
  for (const int P : {2, 4, 8}) {
    const Step step({.tensor = P}, 1);
    // A block gathers before and scatters after both of its halves; backward gathers the inputs once more. The embeddings
    // scatter, the heads gather, one of each goes back.
    const double transfers = kLayers * (4 + 4 + 6) + 3 + 3;
    const double wanted = transfers * (P - 1) / P * kT * kD * kBf16;
    // Sums of single numbers a token and of norms' gradients are small beside it.
    EXPECT_NEAR(step.rank(P - 1).traffic.at("tensor").bytes, wanted, 0.01 * wanted) << P;
  }
}

TEST(TrafficTest, PipelineAxis) {
  constexpr int kMicroBatches = 6;
  for (const int P : {2, 4}) {
    const Step step({.pipeline = P}, kMicroBatches);
    const double wanted = kMicroBatches * (P - 1) * kT * kD * kBf16;
    for (const char* kind : {"pipeline teacher", "pipeline forward", "pipeline backward"})
      EXPECT_EQ(step.sent(kind), wanted) << kind;
  }
}

TEST(TrafficTest, DataAndContextAxesSumGradients) {
  for (const parallel::Layout& layout :
       {parallel::Layout{.data = 4}, parallel::Layout{.data = 2, .context = 2}}) {
    const launch::RankPlan plan = Step(layout, 4).rank(0);
    const double others = 3.0 / 4;
    EXPECT_NEAR(plan.traffic.at("gradient").bytes, others * (plan.gradients + plan.weights), 1);
    EXPECT_EQ(plan.gradients, 2 * plan.weights) << "float32 and bfloat16";
  }
}

/// The state of a lightning layer.
constexpr double kState = kH * kK * kK * kFloat32;
/// Keys and values of a fragment pair, and their gradients.
double keys(int P) { return 2 * kT / P * kG * kK * kBf16; }
double key_gradients(int P) { return 2 * kT / P * kG * kK * kFloat32; }

TEST(TrafficTest, ContextAxisByRings) {
  for (const int P : {2, 4, 8}) {
    // The teacher's layers forward; the student's forward, and backward with gradients that come home.
    const double softmax =
        P * ((kLayers + 2 * kAttention) * (P - 1) * keys(P) + kAttention * P * key_gradients(P));
    const double states =
        2 * kLightning * (2 * P - 2) * kState;  // the ends of the zigzag: one each
    EXPECT_EQ(Step({.context = P}, 1).sent("context"), softmax + states) << P;
  }
}

TEST(TrafficTest, ContextAxisByGatheringAndScanning) {
  for (const int P : {2, 4, 8}) {
    const Step step({.context = P}, 1, "ALL_GATHER", "SCAN");
    const double softmax = P * ((kLayers + 2 * kAttention) * (P - 1) * keys(P) +
                                kAttention * (P - 1) * key_gradients(P));
    const double rounds = std::ceil(std::log2(P)) + 1;
    const double most_states = 2 * kLightning * P * 2 * rounds * kState;
    const double sent = step.sent("context");
    EXPECT_GT(sent, softmax) << P;
    EXPECT_LE(sent, softmax + most_states) << P;
  }
}

}  // namespace
}  // namespace halo::test
