#include "launch/jobs/collect_trials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/file.h"
#include "core/base/text.h"
#include "launch/jobs/collect_report.h"
#include "launch/jobs/job_folder.h"
#include "launch/metrics.h"
#include "launch/scheduler/journal.h"
#include "launch/sweep/expand_sweep.h"
#include "launch/sweep/halving.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class CollectTrialsTest : public testing::Test {
 protected:
  /// Four trials of 10 steps.
  [[nodiscard]] Config run(const std::string& strategy) const {
    return resolve_run(
        parse_config(
            str("output: \"", folder_.path().string(), R"("
          job { name: "d" train { stage: PRETRAIN model: "m" data { tokens: "a.h5" first_sample: 0 }
                validation { tokens: "v.h5" every_steps: 2 } steps: 10 } }
          sweep { )",
                strategy,
                R"( parameter { path: "train.optimizer.lr" values: ["0.1", "0.2", "0.3", "0.4"] } })"),
            "text"),
        "text");
  }
  /// A job came so far, with a validation loss at every second step.
  static void come_to(const fs::path& output, const std::string& job, std::int64_t steps,
                      double loss) {
    const JobFolder folder(output, job);
    fs::create_directories(folder.path());
    write_file_atomically(folder.config(), "");
    MetricsWriter metrics(folder.metrics(), 0);
    StepMetrics m;
    m.tokens = 100;
    m.step_ms = 1000;
    for (m.step = 0; m.step < steps; ++m.step) {
      m.loss = 2 * loss;
      m.validation_loss = m.step % 2 == 1 ? std::optional(loss) : std::nullopt;
      metrics.append(m);
    }
  }

  test::TemporaryFolder folder_;
};

TEST_F(CollectTrialsTest, TakesWhatThereIsFromEachShare) {
  const Config config = run("");
  come_to(folder_ / "share_1_of_2", config.trial(0).job(), 8, 3);
  come_to(folder_ / "share_2_of_2", config.trial(2).job(), 9, 1);
  come_to(folder_.path(), config.trial(2).job(), 4, 2);
  EXPECT_THAT(trial_folders(config),
              ElementsAre(folder_.path(), folder_ / "share_1_of_2", folder_ / "share_2_of_2"));
  const TrialTable table = collect_trials(config);
  ASSERT_EQ(table.rows.size(), 4U);
  EXPECT_THAT(table.parameters, ElementsAre("train.optimizer.lr"));
  EXPECT_EQ(table.rows[0].number, 2);
  EXPECT_EQ(table.rows[0].objective, 1) << "of the folder where it is further";
  EXPECT_EQ(table.rows[0].step, 8) << "where that was measured";
  EXPECT_EQ(table.rows[1].number, 0);
  EXPECT_EQ(table.rows[1].objective, 3);
  EXPECT_EQ(table.rows[1].state, TrialState::kRunning);
  EXPECT_EQ(table.rows[2].state, TrialState::kWaiting);
  EXPECT_EQ(table.rows[3].objective, std::nullopt);
  EXPECT_THAT(collect_report(config, 0).facts,
              ElementsAre(testing::Pair("tokens trained on", human_count(2100)),
                          testing::Pair("time in steps", human_seconds(21))))
      << "of all folders";
}

TEST_F(CollectTrialsTest, FailuresAndDropsHaveTheirReasons) {
  const Config config = run("strategy: SUCCESSIVE_HALVING halving { min_steps: 4 reduction: 2 }");
  const auto job = [&](int trial) { return config.trial(trial).job(); };
  for (int t = 0; t < 3; ++t) come_to(folder_.path(), job(t), 4, 5 - t);
  come_to(folder_.path(), job(2), 6, 1);
  write_rung(rung_file(folder_.path(), 0),
             {4,
              {{job(0), 5, "", false},
               {job(1), 4, "", true},
               {job(2), 3, "", true},
               {job(3), std::nullopt, "its loss is not finite", false}}});
  {
    Journal journal(folder_ / "journal");
    JobTable table;
    proto::SchedulerEvent event;
    event.mutable_began()->set_ranks(1);
    record_event(event, journal, table);
    event.mutable_added()->set_name(job(1));
    record_event(event, journal, table);
    event.mutable_started()->set_name(job(1));
    event.mutable_started()->add_rank(0);
    record_event(event, journal, table);
    event.mutable_ended()->set_name(job(1));
    event.mutable_ended()->set_reason("out of memory");
    record_event(event, journal, table);
  }
  const TrialTable table = collect_trials(config);
  std::vector<std::string> states;
  for (const TrialRow& row : table.rows)
    states.push_back(str(row.number, ' ', to_string(row.state), ' ', row.step, ' ', row.reason));
  EXPECT_THAT(states, ElementsAre("2 running 6 ", "0 dropped 4 ", "1 failed 4 out of memory",
                                  "3 failed 0 its loss is not finite"));
}

}  // namespace
}  // namespace halo::launch
