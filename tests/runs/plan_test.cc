// What a plan says of a rank's memory and calls, beside what a rank that trains takes and does.
#include <gtest/gtest.h>

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

/// Peak bytes of each rank in a step of a training job.
std::vector<double> measured_peaks(const Config& config, int job, const parallel::Layout& layout) {
  std::vector<double> peaks(static_cast<std::size_t>(layout.ranks()));
  comm::run_ranks(layout.ranks(), [&](comm::Communicator& world) {
    Stream stream(1);
    const std::atomic<bool> stop = false;
    const parallel::DeviceMesh mesh(world, layout);
    const launch::JobContext context{config, config.job(job), job, mesh, stream, stop};
    launch::PreparedStage prepared = launch::prepare_stage(context);
    train::Trainer trainer(*prepared.stage, mesh, {}, stream);
    launch::Batches batches(context, prepared.config.vocab_size, 0);
    stream.allocator()->reset_peak();
    trainer.step(0, batches.next(), false);
    peaks[static_cast<std::size_t>(world.rank())] =
        static_cast<double>(stream.allocator()->peak_bytes());
  });
  return peaks;
}

class PlanTest : public testing::TestWithParam<LayoutCase> {
 protected:
  static const GoldenCase& golden() {
    static const TestFolder folder;
    static const GoldenCase golden("untied", folder.path());
    return golden;
  }
};

TEST_P(PlanTest, PeakIsTheAllocators) {
  const Config config = config_of(golden(), GetParam());
  const launch::proto::Machine machine = launch::read_machine("h100");
  for (int job = 0; job < config.job_size(); ++job) {
    SCOPED_TRACE(config.job(job).name());
    const parallel::Layout layout = GetParam().layout;
    const std::vector<double> measured = measured_peaks(config, job, layout);
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      const double planned = launch::plan_rank(config, config.job(job), rank, layout, machine).peak;
      EXPECT_NEAR(planned, measured[static_cast<std::size_t>(rank)],
                  0.05 * measured[static_cast<std::size_t>(rank)])
          << "rank " << rank;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, PlanTest, testing::ValuesIn(layout_cases(4, 4, 4)));

}  // namespace
}  // namespace halo::test
