// Sweeps as people run them: a grid, successive halving that is killed, shares, and what goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "launch/scheduler/journal.h"
#include "tests/sweep/sweep_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(SweepRun, HalvingThatIsKilledGivesWhatEachTrialGivesAlone) {
  const SweepCase sweep(R"(strategy: SUCCESSIVE_HALVING halving { reduction: 2 min_steps: 4 }
      parameter { path: "job[distill].train.optimizer.lr" values: [1e-4, 3e-4, 1e-3, 3e-3] }
      parameter { path: "job[distill].train.keep_attention" values: [[1], [3]] })");
  EXPECT_TRUE(sweep.kill(3, "out", 32, 0)) << "in the first rung";
  const ProgramResult result = sweep.run(3, "out");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("8 trials, by validation_loss"));

  const auto rows = sweep.table("out");
  ASSERT_EQ(rows.size(), 8U);
  std::map<std::string, int> steps;
  std::set<std::string> trials;
  for (const auto& row : rows) {
    ++steps[row.at("step") + ' ' + row.at("state")];
    trials.insert(row.at("trial"));
  }
  EXPECT_EQ(trials.size(), 8U);
  EXPECT_THAT(steps, ElementsAre(std::pair("16 dropped", 1), std::pair("18 done", 1),
                                 std::pair("4 dropped", 4), std::pair("8 dropped", 2)));
  sweep.expect_as_alone("out", rows[0]);
  sweep.expect_as_alone("out", rows[7]);
  EXPECT_EQ(launch::read_metrics(sweep.output("out") / "align/metrics.jsonl").size(), 3U)
      << "once for all";
  const auto json = nlohmann::json::parse(read_file(sweep.output("out") / "trials.json"));
  EXPECT_EQ(str(json["trials"][0]["trial"].get<int>()), rows[0].at("trial"));
  EXPECT_THAT(read_file(sweep.output("out") / "report.html"), HasSubstr("<h2>Trials</h2>"));

  // Nothing is left to do but the report.
  const std::size_t events = launch::read_journal(sweep.output("out") / "journal").size();
  EXPECT_EQ(sweep.run(3, "out").exit_code, 0);
  EXPECT_EQ(launch::read_journal(sweep.output("out") / "journal").size(), events + 4);
  EXPECT_EQ(sweep.table("out"), rows);
}

TEST(SweepRun, AGridGrowsAndItsSharesMakeOneTable) {
  const SweepCase sweep(R"(parameter { path: "ablation" choice { name: "the method" }
        choice { name: "no align" set: "job[distill].train.student=" }
        choice { name: "no gate" set: "train.lightning_use_output_gate=false" } }
      parameter { path: "job[distill].train.steps" values: ["2", "4"] })");
  const ProgramResult dry = sweep.run(0, "out", {"--dry_run", "--set", "job[distill].ranks=2"});
  ASSERT_EQ(dry.exit_code, 0) << dry.output;
  EXPECT_THAT(dry.output, HasSubstr("On 2 ranks, which jobs ask for (here 1),"));
  const ProgramResult plan =
      run_program({program("halo").string(), "plan", "--config", sweep.config().string(), "--job",
                   "distill", "--ranks", "1"});
  EXPECT_EQ(plan.exit_code, 0) << plan.output;
  EXPECT_THAT(plan.output, HasSubstr("job distill@"));
  EXPECT_THAT(dry.output, AllOf(HasSubstr("6 trials, by validation_loss"),
                                HasSubstr("Jobs: 2 of align, 6 of distill, 1 of report")));
  for (const char* share : {"1/2", "2/2"}) {
    const ProgramResult part = sweep.run(0, "out", {"--trials", share});
    ASSERT_EQ(part.exit_code, 0) << part.output;
  }
  EXPECT_TRUE(fs::exists(sweep.output("out") / "share_2_of_2/journal"));
  const auto rows = sweep.table("out");
  ASSERT_EQ(rows.size(), 6U);
  for (const auto& row : rows) EXPECT_EQ(row.at("state"), "done") << row.at("trial");
  for (const int i : {0, 5}) {
    const std::string share =
        str("out/share_", std::stoi(rows[i].at("trial")) < 3 ? 1 : 2, "_of_2");
    sweep.expect_as_alone(share, rows[i]);
  }
}

/// The job that all trials share fails at the first start. At the second, each trial's last step before the rung is one that makes
/// it go back: what it is compared by is measured all the same.
TEST(SweepRun, HalvingDecidesNothingWhileTrialsAreNotBegun) {
  const SweepCase sweep(R"(strategy: SUCCESSIVE_HALVING halving { reduction: 2 min_steps: 4 }
      parameter { path: "job[distill].train.optimizer.lr" values: [1e-4, 3e-4] }
      parameter { path: "job[distill].train.steps" values: ["6"] })");
  const auto run = [&](const char* drill) {
    std::vector<std::string> command = sweep.command(0, "out");
    command.insert(command.begin(), {"env", drill});
    return run_program(command);
  };
  const ProgramResult first = run("HALO_DRILL=0:1:throw");
  EXPECT_EQ(first.exit_code, 1) << first.output;
  EXPECT_THAT(first.output, HasSubstr("nothing is decided after 4 steps: 2 trials were not begun"));
  EXPECT_FALSE(fs::exists(sweep.output("out") / "rungs"));
  const ProgramResult second = run("HALO_DRILL_NAN=0:1:3");
  EXPECT_EQ(second.exit_code, 0) << second.output;
  const auto rung = nlohmann::json::parse(read_file(sweep.output("out") / "rungs/0.json"));
  for (const auto& job : rung["jobs"]) EXPECT_TRUE(job["objective"].is_number()) << job;
  EXPECT_EQ(sweep.table("out").front().at("state"), "done");
  // They are past a rung at which nothing was measured.
  fs::remove_all(sweep.output("out") / "rungs");
  const ProgramResult other = sweep.run(2, "out", {"--set", "sweep.halving.min_steps=3"});
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_THAT(other.output,
              HasSubstr("its validation_loss after 3, where trials are to be compared"));
  EXPECT_FALSE(fs::exists(sweep.output("out") / "rungs"));
}

TEST(SweepRun, WhatIsChosenAfterTrainingIsRankedByAnEvaluation) {
  const SweepCase sweep(R"(objective: "perplexity"
      parameter { path: "evaluate.attn_logits_scaling" values: ["none", "hype 500", "hype 2"] })");
  const ProgramResult result = sweep.run(2, "out");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto rows = sweep.table("out");
  ASSERT_EQ(rows.size(), 3U);
  std::set<std::string> perplexities;
  for (const auto& row : rows) perplexities.insert(row.at("objective"));
  EXPECT_EQ(perplexities.size(), 3U) << "each scaling has its own";
  EXPECT_LT(std::stod(rows[0].at("objective")), std::stod(rows[2].at("objective")));
  EXPECT_TRUE(fs::exists(sweep.output("out") / "distill")) << "trained once for all";
}

TEST(SweepRun, ATrialThatFailsLeavesTheOthersAlone) {
  const SweepCase sweep(
      R"(parameter { path: "job[distill].train.optimizer.lr" values: ["1e-3", "1e200"] }
      parameter { path: "job[distill].train.guard.skip_nonfinite" values: ["false"] }
      parameter { path: "job[distill].train.steps" values: ["6"] })");
  const ProgramResult result = sweep.run(2, "out");
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("trial 1: "));
  const auto rows = sweep.table("out");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].at("state"), "done");
  EXPECT_EQ(rows[1].at("state"), "failed");
  EXPECT_THAT(result.output, HasSubstr("in trial 1 (job[distill].train.optimizer.lr=1e200"));
  EXPECT_THAT(rows[1].at("reason"), HasSubstr("finite"));
  sweep.expect_as_alone("out", rows[0]);
}

TEST(SweepRun, ATrialThatFailedBeforeARungIsDroppedAndTheExitCodeStillTellsOfIt) {
  const SweepCase sweep(R"(strategy: SUCCESSIVE_HALVING halving { reduction: 2 min_steps: 4 }
      parameter { path: "job[distill].train.optimizer.lr" values: ["1e-3", "1e200"] }
      parameter { path: "job[distill].train.guard.skip_nonfinite" values: ["false"] }
      parameter { path: "job[distill].train.steps" values: ["6"] })");
  const ProgramResult first = sweep.run(0, "out");
  EXPECT_EQ(first.exit_code, 1) << first.output;
  EXPECT_THAT(first.output, HasSubstr("in trial 1 ("));
  const auto rows = sweep.table("out");
  EXPECT_EQ(rows[0].at("state"), "done");
  EXPECT_EQ(rows[1].at("state"), "failed");
  const ProgramResult again = sweep.run(0, "out");
  EXPECT_EQ(again.exit_code, 1) << again.output;
  EXPECT_THAT(again.output, testing::Not(HasSubstr("in trial 1 ("))) << "it was told";
  EXPECT_EQ(sweep.table("out"), rows);
}

}  // namespace
}  // namespace halo::test
