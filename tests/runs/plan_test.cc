// What a plan says of a rank's memory and calls, beside what a rank that trains takes and does.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>

#include "launch/jobs/batches.h"
#include "launch/jobs/prepared_stage.h"
#include "launch/jobs/run_jobs.h"
#include "launch/jobs/trainer_options.h"
#include "launch/plan/layout_plan.h"
#include "parallel/comm/local_communicator.h"
#include "tests/runs/golden_case.h"
#include "tests/runs/layout_case.h"

namespace halo::test {
namespace {

using launch::Config;

/// A golden case whose jobs have run a step each, so that they find each other's models.
class RunCase {
 public:
  explicit RunCase(const std::string& name) : golden_(name, folder_.path()) {
    const std::atomic<bool> stop = false;
    const Config first = config({});
    comm::run_ranks(1, [&](comm::Communicator& world) {
      EXPECT_EQ(launch::run_jobs(first, world, stop), launch::RunOutcome::kDone);
    });
  }
  [[nodiscard]] Config config(const LayoutCase& c) const {
    Config config = launch::read_config(golden_.config().string());
    for (const std::string& setting : layout_settings(c)) launch::apply_override(config, setting);
    launch::apply_override(config, "train.steps=1");
    config.set_output((folder_ / "run").string());
    return launch::resolve(config, "golden");
  }

 private:
  TestFolder folder_;
  GoldenCase golden_;
};

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
    const parallel::DeviceMesh mesh(world, layout);
    const launch::JobContext context{config, config.job(job), job,
                                     mesh,   stream,          [] { return false; }};
    launch::PreparedStage prepared = launch::prepare_stage(context);
    train::Trainer trainer(*prepared.stage, mesh, launch::trainer_options(context.job), stream);
    launch::Batches batches(context, prepared.config.vocab_size, 0);
    stream.allocator()->reset_peak();
    train::Trace trace;
    trace.record();
    world.observe(&trace);
    trainer.step(0, batches.next(), false);
    trainer.optimizer().wait_for_weights();
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
std::vector<std::string> describe(const std::vector<comm::Call>& calls) {
  std::vector<std::string> lines;
  for (const comm::Call& call : calls) lines.push_back(describe(call));
  return lines;
}

class PlanTest : public testing::TestWithParam<std::tuple<const char*, LayoutCase>> {
 protected:
  static const RunCase& run(const std::string& name) {
    static std::map<std::string, RunCase> runs;
    return runs.try_emplace(name, name).first->second;
  }
};

TEST_P(PlanTest, PeakAndCallsAreThoseOfTraining) {
  const auto& [name, layout_case] = GetParam();
  const Config config = run(name).config(layout_case);
  const parallel::Layout& layout = layout_case.layout;
  const launch::proto::Machine machine = launch::read_machine("h100");
  for (int job = 0; job < config.job_size(); ++job) {
    const std::vector<Measured> measured = measure(config, job, layout);
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      SCOPED_TRACE(str(config.job(job).name(), " rank ", rank));
      const Measured& real = measured[static_cast<std::size_t>(rank)];
      const launch::RankPlan plan =
          launch::plan_rank(config, config.job(job), rank, layout, machine, {0, true});
      EXPECT_NEAR(plan.peak, real.peak, 0.05 * real.peak);
      EXPECT_EQ(describe(plan.calls), describe(real.calls));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tied, PlanTest,
                         testing::Combine(testing::Values("tied"),
                                          testing::ValuesIn(layout_cases(8, 4, 4))));
INSTANTIATE_TEST_SUITE_P(Untied, PlanTest,
                         testing::Combine(testing::Values("untied"),
                                          testing::ValuesIn(layout_cases(8, 3, 4))));

}  // namespace
}  // namespace halo::test
