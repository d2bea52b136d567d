// Steps of a trainer whose loss or gradients are not finite on one of the ranks, which are threads.
#include "core/train/guarded_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <mutex>

#include "core/base/rng.h"
#include "parallel/comm/local_communicator.h"

namespace halo::train {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kRows = 8, kColumns = 6;

/// What goes wrong in the forward pass of one rank, told the pass's number.
struct Poison {
  std::function<bool(int pass)> loss = [](int) { return false; };
  std::function<bool(int pass)> gradient = [](int) { return false; };
};

/// Two layers of one matrix each; a token's loss is half the square of its row's distance from a target, times the layer.
class RowsStage : public Stage {
 public:
  RowsStage(Stream& stream, DType dtype, Poison poison)
      : parameters_(stream,
                    {{"model.layers.0.rows", {kRows, kColumns}, {}, {}},
                     {"model.layers.1.rows", {kRows, kColumns}, {}, {}}},
                    dtype, model::ParameterSet::Use::kTrained),
        stream_(stream),
        poison_(std::move(poison)) {
    const CounterRng rng(1, "rows");
    std::uint64_t at = 0;
    for (const model::Parameter& p : parameters_.all())
      each(p.weight, [&](double) { return rng.normal(at++); });
  }

  [[nodiscard]] std::string_view name() const override { return "rows"; }
  [[nodiscard]] const model::ModelConfig& student_config() const override { return config_; }
  [[nodiscard]] const model::ParameterSet& trained() const override { return parameters_; }
  [[nodiscard]] StageActions actions() const override { return {false, false}; }
  [[nodiscard]] int chunks() const override { return 1; }
  [[nodiscard]] std::int64_t counted_tokens(const MicroBatch& batch) const override {
    return batch.T * batch.B;
  }
  void set_hooks(const model::LayerHooks* hooks) override { hooks_ = hooks; }
  void forward(const MicroBatch& batch, int, Tensor&, double scale, TensorView sum) override {
    const int pass = passes_++;
    for (const int layer : {0, 1}) hooks_->before_forward(layer);
    double loss = 0.0;
    for (const int layer : {1, 0}) {
      loss += learn(batch, layer, scale);
      const model::Parameter& p = parameters_.all()[static_cast<std::size_t>(layer)];
      if (poison_.gradient(pass)) each(p.grad, [](double) { return kNan; });
      hooks_->after_backward(layer);
    }
    *sum.as<double>() += poison_.loss(pass) ? kNan : loss;
  }
  void validation_forward(const MicroBatch&, int, Tensor&, TensorView) override {}
  [[nodiscard]] Shape activation_shape(const MicroBatch&) const override { return {1, 1}; }
  [[nodiscard]] double flops_per_token(std::int64_t) const override { return 1.0; }

  [[nodiscard]] std::vector<double> weights() const {
    std::vector<double> values;
    for (const model::Parameter& p : parameters_.all()) {
      each(p.weight, [&](double value) {
        values.push_back(value);
        return value;
      });
    }
    return values;
  }

 private:
  template <class Function>
  static void each(const TensorView& x, Function&& f) {
    for (std::int64_t i = 0; i < x.size(); ++i) {
      if (x.dtype == DType::kFloat64)
        x.as<double>()[i] = f(x.as<double>()[i]);
      else
        x.as<float>()[i] = static_cast<float>(f(x.as<float>()[i]));
    }
  }
  double learn(const MicroBatch& batch, int layer, double scale) {
    const model::Parameter& p = parameters_.all()[static_cast<std::size_t>(layer)];
    const TensorView gradient = model::settled_gradient(p, stream_);
    double loss = 0.0;
    for (const std::int32_t token : batch.tokens) {
      const std::int64_t row = token % kRows;
      for (std::int64_t i = 0; i < kColumns; ++i) {
        const TensorView w = p.weight.slice(0, row, row + 1).slice(1, i, i + 1);
        double distance = 0.0;
        each(w, [&](double value) {
          distance = value - 0.1 * double(token) * double(layer + 1);
          return value;
        });
        each(gradient.slice(0, row, row + 1).slice(1, i, i + 1),
             [&](double value) { return value + scale * distance; });
        loss += 0.5 * distance * distance;
      }
    }
    return loss;
  }

  model::ParameterSet parameters_;
  model::ModelConfig config_;
  Stream& stream_;
  Poison poison_;
  const model::LayerHooks* hooks_ = nullptr;
  int passes_ = 0;
};

struct Outcome {
  std::vector<double> losses, norms, weights;  // of rank 0; the others' are compared with them
  std::vector<Verdict> verdicts;
  std::vector<std::string> warnings;
  std::int64_t adam_steps = 0;
};

struct Course {
  int ranks = 3;
  DType dtype = DType::kFloat32;
  bool overlap = true;
  std::int64_t steps = 8;
  Poison poison;  // of rank 1
  GuardOptions guard;
};

std::vector<MicroBatch> batches_of(std::int64_t step, int rank) {
  std::vector<MicroBatch> batches(2);
  const CounterRng rng(2, "tokens");
  for (std::size_t i = 0; i < batches.size(); ++i) {
    batches[i].T = 5;
    batches[i].B = rank == 2 && i == 1 ? 0 : 1;  // one of them is empty
    for (std::int64_t t = 0; t < batches[i].T * batches[i].B; ++t)
      batches[i].tokens.push_back(static_cast<std::int32_t>(rng.below(
          20, static_cast<std::uint64_t>(((step * 8 + rank) * 2 + std::int64_t(i)) * 5 + t))));
  }
  return batches;
}

Outcome run(const Course& c) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(c.ranks));
  comm::run_ranks(c.ranks, [&](comm::Communicator& world) {
    Outcome& outcome = outcomes[static_cast<std::size_t>(world.rank())];
    Stream stream(1);
    const parallel::DeviceMesh mesh(world, parallel::fill_data({}, c.ranks));
    RowsStage stage(stream, c.dtype, world.rank() == 1 ? c.poison : Poison{});
    TrainerOptions options;
    options.schedule.kind = LrSchedule::Kind::kConstant;
    options.schedule.lr = 0.05;
    options.adamw.bucket_elements = 10;
    options.overlap = c.overlap;
    Trainer trainer(stage, mesh, options, stream);
    StepGuard guard(c.guard);
    const auto warn = [&](const std::string& text) { outcome.warnings.push_back(text); };
    for (std::int64_t step = 0; step < c.steps; ++step) {
      const auto batches = batches_of(step, world.rank());
      const GuardedStep done = guarded_step(trainer, guard, step, batches, false, warn);
      outcome.losses.push_back(done.stats.loss);
      outcome.norms.push_back(done.stats.grad_norm);
      outcome.verdicts.push_back(done.verdict);
      if (done.verdict == Verdict::kRollBack) break;
    }
    trainer.optimizer().wait_for_weights();
    outcome.weights = stage.weights();
    outcome.adam_steps = trainer.optimizer().steps();
  });
  for (const Outcome& other : outcomes) {
    EXPECT_EQ(other.weights, outcomes[0].weights);
    EXPECT_EQ(other.verdicts, outcomes[0].verdicts);
    EXPECT_EQ(other.warnings, outcomes[0].warnings);
    for (std::size_t i = 0; i < other.losses.size(); ++i) {
      EXPECT_EQ(other.verdicts[i] != Verdict::kAccept || other.losses[i] == outcomes[0].losses[i],
                true);
      EXPECT_EQ(other.verdicts[i] != Verdict::kAccept || other.norms[i] == outcomes[0].norms[i],
                true);
    }
  }
  return outcomes[0];
}

/// Pass numbers of rank 1, which has two micro-batches a try.
Poison gradients_of_passes(int begin, int end) {
  Poison poison;
  poison.gradient = [=](int pass) { return pass >= begin && pass < end; };
  return poison;
}
Poison losses_of_passes(int begin, int end) {
  Poison poison;
  poison.loss = [=](int pass) { return pass >= begin && pass < end; };
  return poison;
}

TEST(GuardedStepTest, APassingFaultLeavesNoTrace) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    for (const bool overlap : {true, false}) {
      SCOPED_TRACE(testing::Message() << dtype_name(dtype) << ", overlap " << overlap);
      Course c;
      c.dtype = dtype;
      c.overlap = overlap;
      const Outcome unbroken = run(c);
      EXPECT_TRUE(unbroken.warnings.empty());
      EXPECT_NE(unbroken.losses.front(), unbroken.losses.back());
      for (const Poison& poison : {gradients_of_passes(7, 8), losses_of_passes(6, 7)}) {
        c.poison = poison;  // in the first try of step 3
        const Outcome broken = run(c);
        EXPECT_EQ(broken.losses, unbroken.losses);
        EXPECT_EQ(broken.norms, unbroken.norms);
        EXPECT_EQ(broken.weights, unbroken.weights);
        EXPECT_EQ(broken.adam_steps, c.steps);
        ASSERT_EQ(broken.warnings.size(), 2U);
        EXPECT_THAT(broken.warnings[0], HasSubstr("step 3"));
        EXPECT_THAT(broken.warnings[1], HasSubstr("a passing fault"));
      }
    }
  }
}

TEST(GuardedStepTest, TheRankWhoseLossIsNotFiniteIsNamed) {
  Course c;
  c.poison = losses_of_passes(6, 7);
  EXPECT_THAT(run(c).warnings.at(0), HasSubstr("(not finite: the loss of rank 1)"));
  c.poison = gradients_of_passes(6, 8);
  EXPECT_THAT(run(c).warnings.at(0), HasSubstr("(not finite: 96 gradients of ranks "));
}

/// Neither the weights nor AdamW know of a step that was skipped.
TEST(GuardedStepTest, ASkippedStepChangesNothing) {
  Course c;
  c.steps = 3;
  const Outcome before = run(c);
  c.steps = 4;
  EXPECT_NE(run(c).weights, before.weights);
  c.poison = gradients_of_passes(6, 10);  // both tries of step 3
  const Outcome after = run(c);
  EXPECT_EQ(after.verdicts.back(), Verdict::kSkip);
  EXPECT_EQ(after.weights, before.weights);
  EXPECT_EQ(after.adam_steps, 3);
}

TEST(GuardedStepTest, SeveralInARowAreARollback) {
  Course c;
  c.guard.rollback_after = 2;
  c.poison = gradients_of_passes(6, 1000);
  const Outcome outcome = run(c);
  EXPECT_EQ(outcome.verdicts, (std::vector{Verdict::kAccept, Verdict::kAccept, Verdict::kAccept,
                                           Verdict::kSkip, Verdict::kRollBack}));
  EXPECT_THAT(outcome.warnings.back(), HasSubstr("goes back to earlier weights"));
}

TEST(GuardedStepTest, AFailureIsAnErrorOnEveryRank) {
  Course c;
  c.guard.skip_nonfinite = false;
  c.poison = losses_of_passes(6, 1000);
  try {
    std::ignore = run(c);
    FAIL() << "it ended";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(HasSubstr("step 3: loss nan"), HasSubstr("the loss of rank 1")));
  }
}

}  // namespace
}  // namespace halo::train
