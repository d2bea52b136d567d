// What a plan says of a rank's memory and calls, beside what a rank that trains takes and does.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "core/train/trainer.h"
#include "launch/jobs/batches.h"
#include "launch/jobs/prepared_stage.h"
#include "launch/plan/layout_plan.h"
#include "parallel/comm/local_communicator.h"
#include "tests/runs/golden_case.h"
#include "tests/runs/layout_case.h"

namespace halo::test {
namespace {

using launch::Config;

Config config_of(const GoldenCase& golden, const LayoutCase& c) {
  Config config = launch::read_config(golden.config().string());
  const std::vector<std::string> arguments = layout_arguments(c);
  for (std::size_t i = 1; i < arguments.size(); i += 2)
    launch::apply_override(config, arguments[i]);
  return launch::resolve(config, "golden");
}

/// What a rank took and did in a step of a training job.
struct Measured {
  double peak = 0;  // bytes
  std::vector<comm::Call> calls;
};

std::vector<comm::Call> in_order(std::vector<comm::CallSpan> spans) {
  std::ranges::stable_sort(spans, {}, &comm::CallSpan::begin);
  std::vector<comm::Call> calls;
  for (comm::CallSpan& span : spans) calls.push_back(std::move(span.call));
  return calls;
}

std::vector<Measured> measure(const Config& config, int job, const parallel::Layout& layout) {
  std::vector<Measured> ranks(static_cast<std::size_t>(layout.ranks()));
  comm::run_ranks(layout.ranks(), [&](comm::Communicator& world) {
    Stream stream(1);
    const std::atomic<bool> stop = false;
    const parallel::DeviceMesh mesh(world, layout);
    const launch::JobContext context{config, config.job(job), job, mesh, stream, stop};
    launch::PreparedStage prepared = launch::prepare_stage(context);
    train::Trainer trainer(*prepared.stage, mesh, {}, stream);
    launch::Batches batches(context, prepared.config.vocab_size, 0);
    stream.allocator()->reset_peak();
    train::Trace trace;
    trace.record();
    world.observe(&trace);
    trainer.step(0, batches.next(), false);
    world.observe(nullptr);
    ranks[static_cast<std::size_t>(world.rank())] = {
        static_cast<double>(stream.allocator()->peak_bytes()), in_order(trace.calls())};
  });
  return ranks;
}

std::string describe(const comm::Call& call) {
  return str(to_string(call), " to ", testing::PrintToString(call.to), " from ",
             testing::PrintToString(call.from));
}

void expect_equal_calls(const std::vector<comm::Call>& planned,
                        const std::vector<comm::Call>& measured) {
  ASSERT_EQ(planned.size(), measured.size());
  for (std::size_t i = 0; i < planned.size(); ++i)
    ASSERT_EQ(describe(planned[i]), describe(measured[i])) << "call " << i;
}

class PlanTest : public testing::TestWithParam<LayoutCase> {
 protected:
  static const GoldenCase& golden() {
    static const TestFolder folder;
    static const GoldenCase golden("untied", folder.path());
    return golden;
  }
};

TEST_P(PlanTest, PeakAndCallsAreThoseOfTraining) {
  const Config config = config_of(golden(), GetParam());
  const launch::proto::Machine machine = launch::read_machine("h100");
  for (int job = 0; job < config.job_size(); ++job) {
    const parallel::Layout layout = GetParam().layout;
    const std::vector<Measured> measured = measure(config, job, layout);
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      SCOPED_TRACE(str(config.job(job).name(), " rank ", rank));
      const Measured& real = measured[static_cast<std::size_t>(rank)];
      const launch::RankPlan plan =
          launch::plan_rank(config, config.job(job), rank, layout, machine, {0, true});
      EXPECT_NEAR(plan.peak, real.peak, 0.05 * real.peak);
      expect_equal_calls(plan.calls, real.calls);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, PlanTest, testing::ValuesIn(layout_cases(4, 4, 4)));

}  // namespace
}  // namespace halo::test
