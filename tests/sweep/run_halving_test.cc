#include "launch/jobs/run_halving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/jobs/architectures.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/job_queue.h"
#include "launch/metrics.h"
#include "launch/sweep/expand_sweep.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

/// Six trials of 90 steps, halved by 2 after 10, 20, 40 and 80 of them, on three ranks, one each.
class RunHalvingTest : public testing::Test {
 protected:
  static Config config(const fs::path& output, const char* values, int min_steps = 10,
                       const char* more = "ranks: 1") {
    return resolve_run(
        parse_config(
            str("output: \"", output.string(), R"("
          job { name: "before" ranks: 1 train { stage: PRETRAIN model: "m" data { tokens: "a.h5" first_sample: 0 } steps: 5 } seed: 0 }
          job { name: "d" )",
                more, R"( train { stage: PRETRAIN model: "m" data { tokens: "a.h5" first_sample: 0 }
                validation { tokens: "v.h5" } steps: 90 } }
          job { name: "report" report {} }
          sweep { strategy: SUCCESSIVE_HALVING halving { reduction: 2 min_steps: )",
                min_steps, R"( }
                  parameter { path: "seed" values: [)",
                values, "] } }"),
            "text"),
        "text");
  }
  /// A program begins.
  void begin(int ranks = 3, bool hosts_lost = false, const std::set<std::string>& ended = {}) {
    proto::SchedulerEvent began;
    began.mutable_began()->set_ranks(ranks);
    began.mutable_began()->set_tries_failed_again(true);
    table_.apply(began);
    halving_.emplace(run_);
    enqueue_jobs(run_, job_order(run_), {ended, {}, halving_->states(ended), hosts_lost}, table_,
                 [&](const proto::SchedulerEvent& event) { table_.apply(event); });
    decide();
  }
  void decide() {
    while (const auto events = halving_->decide(table_))
      for (const auto& event : *events) table_.apply(event);
  }
  [[nodiscard]] std::vector<int> due() const {
    std::vector<int> trials;
    for (const auto& event : table_.due(0))
      for (const proto::Trial& trial : run_.trial())
        if (trial.job() == event.started().name()) trials.push_back(trial.number());
    return trials;
  }
  [[nodiscard]] const std::string& job(int trial) const { return run_.trial(trial).job(); }
  void start(const std::string& name) {
    for (const auto& event : table_.due(0))
      if (event.started().name() == name) return table_.apply(event);
    FAIL() << name << " is not due";
  }
  void start(int trial) { start(job(trial)); }
  /// It comes to where it was to pause, with this loss.
  void pause(int trial, double loss) {
    start(trial);
    const fs::path folder = fs::path(run_.output()) / job(trial);
    fs::create_directories(folder);
    write_pause(folder, {table_.job(job(trial)).job.until(), loss, loss});
    end(trial, true, "");
  }
  void end(int trial, bool succeeded, const std::string& reason) {
    end(job(trial), succeeded, reason);
  }
  void end(const std::string& name, bool succeeded, const std::string& reason) {
    proto::SchedulerEvent event;
    event.mutable_ended()->set_name(name);
    event.mutable_ended()->set_succeeded(succeeded);
    event.mutable_ended()->set_reason(reason);
    table_.apply(event);
    decide();
  }
  void fail(int trial) {
    start(trial);
    end(trial, false, "its loss is not finite");
  }

  /// It has done so many steps in an earlier run, with a validation loss after every so many.
  void come_to(int trial, std::int64_t steps, std::int64_t every, double loss) const {
    const JobFolder folder(run_.output(), job(trial));
    fs::create_directories(folder.checkpoints() / str("step_000000", steps));
    MetricsWriter metrics(folder.metrics(), 0);
    StepMetrics m;
    for (m.step = 0; m.step < steps; ++m.step) {
      m.loss = loss;
      m.validation_loss = (m.step + 1) % every == 0 ? std::optional(loss) : std::nullopt;
      metrics.append(m);
    }
  }

  test::TemporaryFolder folder_;
  Config run_ = config(folder_.path(), R"("1","2","3","4","5","6")");
  JobTable table_;
  std::optional<RunHalving> halving_;
};

TEST_F(RunHalvingTest, ARungIsDecidedWhenAllOfItAreOver) {
  begin();
  EXPECT_THAT(due(), ElementsAre(0, 1, 2));
  EXPECT_EQ(table_.job(job(0)).job.until(), 10);
  for (int t = 0; t < 5; ++t) pause(t, 10 - t);
  EXPECT_THAT(due(), UnorderedElementsAre(5, 3, 4)) << "3 and 4 go on, whatever 5 comes to";
  EXPECT_FALSE(fs::exists(rung_file(run_.output(), 0)));
  pause(5, 20);
  EXPECT_TRUE(fs::exists(rung_file(run_.output(), 0)));
  EXPECT_THAT(due(), UnorderedElementsAre(2, 3, 4)) << "losses 8, 7 and 6";
  EXPECT_EQ(table_.job(job(2)).job.until(), 20);
  pause(3, 2);
  pause(4, 3);
  EXPECT_THAT(due(), ElementsAre(2)) << "the only place may be its";
  pause(2, 1);
  EXPECT_THAT(due(), ElementsAre(2)) << "of three one goes on";
  EXPECT_EQ(table_.job(job(2)).job.until(), 40);
  pause(2, 1);
  pause(2, 1);
  EXPECT_EQ(table_.job(job(2)).job.until(), 0) << "to its end";
  EXPECT_EQ(table_.job("report").state, JobState::kWaiting);
  start(2);
  end(2, true, "");
  EXPECT_EQ(table_.due(0).at(0).started().name(), "report");
}

TEST_F(RunHalvingTest, AProgramThatBeginsAgainKnowsWhatWasDecided) {
  begin();
  for (int t = 0; t < 6; ++t) pause(t, t);
  pause(0, 5);
  start(1);
  begin();
  EXPECT_THAT(due(), UnorderedElementsAre(1, 2)) << "0 has paused, 1 was under way, 3 to 5 are out";
  EXPECT_EQ(table_.job(job(3)).state, JobState::kDone);
  pause(1, 4);
  pause(2, 3);
  EXPECT_THAT(due(), ElementsAre(2));
}

TEST_F(RunHalvingTest, WhoGoesOnInAnyCaseIsAheadOfTheDecision) {
  begin();
  for (int t = 0; t < 4; ++t) pause(t, t);
  EXPECT_THAT(due(), UnorderedElementsAre(0, 4, 5)) << "two may still be better than 0, of three";
  pause(0, 9);
  EXPECT_THAT(due(), UnorderedElementsAre(4, 5)) << "it waits for others at its second rung";
  begin();
  EXPECT_THAT(due(), UnorderedElementsAre(4, 5));
  EXPECT_EQ(table_.job(job(0)).job.until(), 20);
  pause(4, 10);
  pause(5, 11);
  EXPECT_THAT(due(), UnorderedElementsAre(1, 2));
  pause(1, 8);
  pause(2, 7);
  EXPECT_THAT(due(), ElementsAre(2)) << "of 9, 8 and 7";
  const Rung first = read_rung(rung_file(run_.output(), 0));
  EXPECT_EQ(first.results[0].objective, 0) << "of that rung, not of the one it is at";
}

TEST_F(RunHalvingTest, ACrashBetweenADecisionAndWhatFollowsLosesNothing) {
  begin();
  for (int t = 0; t < 5; ++t) pause(t, t);
  start(5);
  const fs::path folder = fs::path(run_.output()) / job(5);
  fs::create_directories(folder);
  write_pause(folder, {10, -1, -1});  // it paused, and nobody heard of it
  begin();
  EXPECT_THAT(due(), UnorderedElementsAre(0, 1, 5));
  // The decision is written and the jobs that go on are not in the journal.
  table_ = JobTable();
  begin();
  EXPECT_THAT(due(), UnorderedElementsAre(0, 1, 5));
  EXPECT_EQ(table_.job(job(5)).job.until(), 20);
}

TEST_F(RunHalvingTest, WhoFailedIsDroppedWithItsReasonForGood) {
  begin();
  fail(0);
  for (int t = 1; t < 6; ++t) pause(t, 10 - t);
  EXPECT_THAT(due(), UnorderedElementsAre(3, 4, 5));
  const Rung rung = read_rung(rung_file(run_.output(), 0));
  EXPECT_EQ(rung.results[0].reason, "its loss is not finite");
  begin();
  EXPECT_THAT(due(), UnorderedElementsAre(3, 4, 5)) << "it is not tried again";
  EXPECT_EQ(table_.job(job(0)).state, JobState::kFailed) << "the exit code tells of it again";
  EXPECT_TRUE(halving_->has_dropped(job(0)));
}

TEST_F(RunHalvingTest, WhoFailedIsTriedAgainAsLongAsNothingIsDecided) {
  begin();
  fail(0);
  pause(1, 5);
  begin();
  EXPECT_THAT(due(), UnorderedElementsAre(0, 2, 3));
}

TEST_F(RunHalvingTest, WhoseObjectiveIsNoNumberIsDroppedAndHasNotFailed) {
  begin();
  pause(0, std::nan(""));
  for (int t = 1; t < 6; ++t) pause(t, 10 - t);
  EXPECT_EQ(read_rung(rung_file(run_.output(), 0)).results[0].reason,
            "its validation_loss is not a number");
  EXPECT_EQ(table_.job(job(0)).state, JobState::kDone);
  begin();
  EXPECT_EQ(table_.job(job(0)).state, JobState::kDone) << "as before";
}

TEST_F(RunHalvingTest, WhenAllFailNothingIsDecidedAndAllAreTriedAgain) {
  begin();
  for (int t = 0; t < 6; ++t) fail(t);
  EXPECT_EQ(table_.due(0).at(0).started().name(), "report");
  EXPECT_FALSE(fs::exists(rung_file(run_.output(), 0)));
  EXPECT_THAT(halving_->why_undecided(table_), HasSubstr("no trial has a validation_loss"));
  begin();
  EXPECT_THAT(due(), ElementsAre(0, 1, 2));
}

/// A job that trials share fails: none of them is to blame.
TEST_F(RunHalvingTest, WhoWasNotBegunIsNotDropped) {
  run_ = config(folder_.path(), R"("1","2")", 10, "ranks: 1 needs: \"before\"");
  begin();
  start("before");
  end("before", false, "a file is gone");
  EXPECT_EQ(table_.job(job(0)).state, JobState::kSkipped);
  EXPECT_EQ(table_.due(0).at(0).started().name(), "report");
  EXPECT_FALSE(fs::exists(rung_file(run_.output(), 0)));
  EXPECT_THAT(halving_->why_undecided(table_), HasSubstr("2 trials were not begun"));
  begin();
  start("before");
  end("before", true, "");
  pause(1, 1);
  pause(0, 2);
  EXPECT_THAT(due(), ElementsAre(1));
}

/// Its trials want two ranks, of which hosts that are lost leave one.
TEST_F(RunHalvingTest, NothingIsDecidedWhileLayoutsDoNotFitTheRanks) {
  run_ = config(folder_.path(), R"("1","2","3","4")", 10, "ranks: 2 layout { tensor: 2 }");
  begin();
  for (int t = 0; t < 3; ++t) pause(t, t);
  begin(1, /*hosts_lost=*/true);
  EXPECT_EQ(table_.job(job(3)).state, JobState::kFailed);
  EXPECT_EQ(table_.job(job(1)).state, JobState::kDone) << "it has paused";
  EXPECT_THAT(due(), ElementsAre());
  EXPECT_FALSE(fs::exists(rung_file(run_.output(), 0)));
  EXPECT_THAT(halving_->why_undecided(table_), HasSubstr("need more ranks than 1"));
  begin(3, /*hosts_lost=*/true);
  pause(0, 1);  // at its second rung
  pause(3, 10);
  EXPECT_TRUE(fs::exists(rung_file(run_.output(), 0)));
  begin(1, /*hosts_lost=*/true);
  EXPECT_THAT(due(), ElementsAre());
  begin(3);
  EXPECT_THAT(due(), ElementsAre(1));
}

/// A grid was run in the same output.
TEST_F(RunHalvingTest, WhoIsPastARungIsComparedByItsMetrics) {
  for (int t = 0; t < 6; ++t) come_to(t, 90, 10, 10 - t);
  come_to(4, 30, 10, 6);
  fs::remove_all(JobFolder(run_.output(), job(4)).checkpoints() / "step_00000090");
  std::set<std::string> ended;
  for (const int t : {0, 1, 2, 3, 5}) ended.insert(job(t));
  begin(3, false, ended);
  const Rung rung = read_rung(rung_file(run_.output(), 0));
  EXPECT_EQ(rung.results[5].objective, 5);
  EXPECT_EQ(rung.results[4].objective, 6);
  EXPECT_TRUE(fs::exists(rung_file(run_.output(), 1))) << "5 goes on, of three";
  EXPECT_TRUE(fs::exists(rung_file(run_.output(), 3)));
  EXPECT_EQ(table_.job(job(5)).state, JobState::kDone);
  EXPECT_EQ(table_.due(0).at(0).started().name(), "report");
}

TEST_F(RunHalvingTest, WhoIsPastARungWhereNothingWasMeasuredIsRefused) {
  come_to(2, 30, 20, 1);
  const auto expect_refused = [&](const char* text) {
    try {
      begin();
      ADD_FAILURE() << "was taken";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(str("job ", job(2), " has done 30 steps")),
                                      HasSubstr(text), HasSubstr("to train it again")));
    }
    EXPECT_FALSE(fs::exists(rung_file(run_.output(), 0)));
  };
  expect_refused("its validation_loss after 10, where");
  come_to(2, 30, 30, 1);
  write_pause(JobFolder(run_.output(), job(2)).path(), {10, 1, 1});
  expect_refused("after 20, where");  // a later rung
}

/// A thousand trials name the same teacher.
TEST(Architectures, WhetherAReferenceIsMadeIsFoundOutOnce) {
  Config config;
  config.set_output("runs/sweep");
  for (int i = 0; i < 1000; ++i) {
    proto::Job& job = *config.add_job();
    job.set_name(str("distill@", i));
    job.mutable_train();
  }
  const Architectures architectures(config);
  const double start = steady_seconds();
  for (int i = 0; i < 3000; ++i) {
    EXPECT_FALSE(architectures.is_made("models/qwen3-tiny"));
    EXPECT_TRUE(architectures.is_made("runs/../runs/sweep/distill@999/checkpoints"));
  }
  EXPECT_LT(steady_seconds() - start, 2) << "was more than ten";
}

TEST_F(RunHalvingTest, OtherTrialsThanThoseDecidedBetweenAreRefused) {
  begin();
  for (int t = 0; t < 6; ++t) pause(t, t);
  const auto refused = [&](const Config& run) {
    try {
      const RunHalving halving(run);
      ADD_FAILURE() << "was taken";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("was decided between other trials"));
    }
  };
  refused(config(folder_.path(), R"("1","2","3","4","5","6","7")"));
  refused(config(folder_.path(), R"("1","2","3","4","5","6")", 11));
}

}  // namespace
}  // namespace halo::launch
