#include "launch/sweep/expand_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/config_check.h"

namespace halo::launch {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr const char* kJobs = R"(
output: "/nowhere/run" precision: FP64
job { name: "align" train { stage: ALIGN teacher: "t" data { tokens: "a.h5" } steps: 100 } }
job { name: "select" needs: "align" select { strategy: UNIFORM keep: 2 } }
job { name: "distill" needs: "align" needs: "select"
  train { stage: DISTILL teacher: "t" student: "job:align" keep_attention_from: "job:select"
          data { tokens: "a.h5" } validation { tokens: "v.h5" } steps: 90 } }
job { name: "tune" needs: "distill"
  train { stage: FINETUNE student: "job:distill" data { tokens: "b.h5" } validation { tokens: "v.h5" } steps: 80 } }
job { name: "export" needs: "tune" export { to: "/nowhere/model" } }
job { name: "report" needs: "export" report {} }
)";

Config config_with(const std::string& sweep) {
  return parse_config(str(kJobs, "sweep { ", sweep, " }"), "text");
}
Config expanded(const std::string& sweep) { return resolve_run(config_with(sweep), "text"); }
std::vector<std::string> names(const Config& run) {
  std::vector<std::string> all;
  for (const proto::Job& job : run.job()) all.push_back(job.name());
  return all;
}
/// What was before the @, in order.
std::vector<std::string> kinds(const Config& run) {
  std::vector<std::string> all = names(run);
  for (std::string& name : all) name = name.substr(0, name.find('@'));
  return all;
}
std::string error_of(const std::string& sweep) {
  try {
    std::ignore = expanded(sweep);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(ExpandSweep, TrialsShareTheStagesThatAParameterDoesNotReach) {
  const Config run =
      expanded(R"(parameter { path: "job[tune].train.optimizer.lr" values: ["1e-5", "3e-5"] })");
  EXPECT_THAT(kinds(run), ElementsAre("align", "select", "distill", "tune", "tune", "report"));
  EXPECT_THAT((std::vector{names(run)[0], names(run)[2]}), ElementsAre("align", "distill"));
  ASSERT_THAT(run.trial(), SizeIs(2));
  const proto::Job& first = run.job(find_job(run, run.trial(0).job()));
  const proto::Job& second = run.job(find_job(run, run.trial(1).job()));
  EXPECT_EQ(first.train().optimizer().lr(), 1e-5);
  EXPECT_EQ(second.train().optimizer().lr(), 3e-5);
  EXPECT_EQ(second.train().student(), "job:distill");
  EXPECT_NE(first.name(), second.name());
  EXPECT_THAT(first.name(), HasSubstr("tune@"));
}

TEST(ExpandSweep, WhatFollowsFromAStageIsAsDifferentAsTheStage) {
  const Config run =
      expanded(R"(parameter { path: "job[align].train.optimizer.lr" values: ["1e-3", "3e-3"] }
                                 parameter { path: "job[tune].train.optimizer.lr" values: ["1e-5", "3e-5"] })");
  EXPECT_THAT(kinds(run), ElementsAre("align", "select", "distill", "tune", "tune", "align",
                                      "select", "distill", "tune", "tune", "report"));
  const proto::Job& last = run.job(find_job(run, run.trial(3).job()));
  const proto::Job& distill = run.job(find_job(run, referenced_job(last.train().student())));
  const proto::Job& align = run.job(find_job(run, referenced_job(distill.train().student())));
  EXPECT_EQ(align.train().optimizer().lr(), 3e-3);
  const proto::Job& select =
      run.job(find_job(run, referenced_job(distill.train().keep_attention_from())));
  EXPECT_EQ(select.select().mixers(), "job:" + align.name());
  EXPECT_THAT(distill.needs(), testing::UnorderedElementsAre(align.name(), select.name()));
}

/// Whatever the list of values, the same job has the same name: results of an earlier sweep are found again.
TEST(ExpandSweep, NamesComeFromWhatAJobComputes) {
  const auto job_of = [](const std::string& values, int trial, const std::string& set = "") {
    Config config =
        config_with(str("parameter { path: \"train.optimizer.lr\" values: [", values, "] }"));
    if (!set.empty()) apply_override(config, set);
    return resolve_run(config, "text").trial(trial).job();
  };
  const std::string name = job_of(R"("1e-5", "3e-5")", 1);
  EXPECT_EQ(job_of(R"("3e-5", "4e-5", "5e-5")", 0), name);
  EXPECT_EQ(job_of(R"("0.00003", "4e-5")", 0), name);
  EXPECT_EQ(job_of(R"("1e-5", "3e-5")", 1, "layout.tensor=2"), name) << "is where it runs";
  EXPECT_EQ(job_of(R"("1e-5", "3e-5")", 1, "train.checkpoint.keep_last=5"), name);
  EXPECT_NE(job_of(R"("1e-5", "3e-5")", 1, "job[align].train.steps=7"), name)
      << "a stage before it";
  EXPECT_NE(job_of(R"("1e-5", "3e-5")", 1, "seed=1"), name);
  EXPECT_NE(job_of(R"("1e-5", "3e-5")", 1, "job[tune].train.steps=81"), name) << "another schedule";
}

TEST(ExpandSweep, WhereAJobRunsCountsWhenItIsSwept) {
  const auto jobs_of = [](const std::string& values) {
    const Config run =
        expanded(str("parameter { path: \"job[tune].layout.tensor\" values: [", values, "] }"));
    EXPECT_THAT(kinds(run), ElementsAre("align", "select", "distill", "tune", "tune", "report"));
    return std::vector{run.trial(0).job(), run.trial(1).job()};
  };
  const auto jobs = jobs_of(R"("1", "2")"), turned = jobs_of(R"("2", "1")");
  EXPECT_THAT(turned, ElementsAre(jobs[1], jobs[0])) << "whichever comes first";
}

/// Of each field that a job may go on with another value of, whether its name, and those of the jobs after it, say the value.
TEST(ExpandSweep, FieldsThatComputeNothingAreInNoName) {
  struct Field {
    std::string set;  // empty: names are not made of it
    bool counts = false;
  };
  const std::map<std::string, Field> fields{
      {"Job.layout", {"layout.tensor=2"}},
      {"Job.precision", {"precision=FP32", true}},
      {"Job.ranks", {"job[tune].ranks=2"}},
      {"Job.priority", {"job[tune].priority=2"}},
      {"Job.retries", {"job[tune].retries=2"}},
      {"Job.needs", {""}},
      {"Job.seed", {"job[tune].seed=2", true}},
      {"Job.report", {""}},
      {"Select.shards", {"select.shards=3"}},
      {"Train.steps", {"train.steps=81", true}},
      {"Train.checkpoint", {"train.checkpoint.keep_last=5"}},
      {"Train.guard", {"train.guard.skip_nonfinite=false", true}},
      {"Train.validation", {"job[tune].train.validation.sequences=3", true}},
      {"Train.recompute", {"train.recompute=true"}},
      {"Train.dump_gradients_at", {"train.dump_gradients_at=3"}},
      {"Batch.micro_sequences", {"train.batch.micro_sequences=2"}}};
  const auto job_of = [](const std::string& set) {
    Config config = config_with(
        R"(parameter { path: "job[tune].train.optimizer.lr" values: ["1e-5", "3e-5"] })");
    if (!set.empty()) apply_override(config, set);
    return resolve_run(config, "text").trial(1).job();
  };
  const std::string name = job_of("");
  for (const std::string& path : fields_that_may_change()) {
    if (path.starts_with("Config.")) continue;  // of the whole run
    ASSERT_TRUE(fields.contains(path)) << path << ": does it belong to what a job computes?";
    const Field& field = fields.at(path);
    EXPECT_EQ(field.set.empty() ? field.counts : job_of(field.set) != name, field.counts) << path;
  }
}

TEST(ExpandSweep, SeedsAndPrecisionMayDiffer) {
  const Config run =
      expanded(R"(parameter { path: "seed" values: ["1", "2"] } job: "align" objective: "loss")");
  EXPECT_THAT(kinds(run), ElementsAre("align", "align", "report"));
  EXPECT_EQ(run.job(0).seed(), 1);
  EXPECT_EQ(run.job(1).seed(), 2);
  EXPECT_EQ(job_config(run, 1).seed(), 2) << "as the trial's own config would have it";
  const Config precise = expanded(
      R"(parameter { path: "precision" values: ["FP32", "FP64"] } job: "align" objective: "loss")");
  EXPECT_EQ(precise.job(0).precision(), proto::FP32);
  EXPECT_EQ(precise.job(1).precision(), proto::FP64);
}

TEST(ExpandSweep, EachTrialIsWhatItIsAlone) {
  const Config config =
      config_with(R"(parameter { path: "train.optimizer.lr" values: ["1e-5", "3e-5"] }
                                       parameter { path: "job[align].train.steps" values: ["10", "20"] })");
  const Config run = resolve_run(config, "text");
  for (int t = 0; t < run.trial_size(); ++t) {
    const Config alone = resolve(trial_config(config, "text", t), "text");
    proto::Job a = alone.job(find_job(alone, "tune")),
               b = run.job(find_job(run, run.trial(t).job()));
    for (proto::Job* job : {&a, &b}) {
      job->clear_name();
      job->clear_needs();
      job->mutable_train()->clear_student();
    }
    EXPECT_EQ(a.SerializeAsString(), b.SerializeAsString()) << t;
  }
  EXPECT_NE(run.job(find_job(run, run.trial(0).job())).train().data().first_sample(), -1);
}

TEST(ExpandSweep, ATrialWithoutAlignRunsNone) {
  const std::string values =
      R"(parameter { path: "job[distill].train.student" values: ["", "job:align"] } job: "distill")";
  std::string text = str(kJobs, "sweep { ", values, " }");
  const std::string from = "keep_attention_from: \"job:select\"";
  text.replace(text.find(from), from.size(), "keep_attention: [1]");
  const std::string needs = " needs: \"select\"\n";
  text.replace(text.find(needs), needs.size(), "\n");
  const Config run = resolve_run(parse_config(text, "text"), "text");
  EXPECT_THAT(kinds(run), ElementsAre("distill", "align", "distill", "report"));
  EXPECT_THAT(run.job(0).needs(), ElementsAre());
  EXPECT_THAT(run.job(2).needs(), ElementsAre("align"));
  EXPECT_EQ(run.job(0).train().data().first_sample(), run.job(2).train().data().first_sample())
      << "both read the same data";
}

TEST(ExpandSweep, WhatIsExpandedIsResolved) {
  const Config run =
      expanded(R"(parameter { path: "train.optimizer.lr" values: ["1e-5", "3e-5"] })");
  EXPECT_EQ(resolve(run, "text").SerializeAsString(), run.SerializeAsString());
  const Config stored = job_config(run, 0);
  EXPECT_FALSE(stored.has_sweep());
  EXPECT_EQ(stored.trial_size(), 0);
}

TEST(ExpandSweep, AJobIsKnownByItsFirstTrial) {
  const Config run =
      expanded(R"(parameter { path: "job[align].train.optimizer.lr" values: ["1e-3", "3e-3"] }
                                 parameter { path: "job[tune].train.optimizer.lr" values: ["1e-5", "3e-5"] })");
  EXPECT_EQ(trial_of_job(run, run.trial(3).job()),
            "trial 3 (job[align].train.optimizer.lr=3e-3, job[tune].train.optimizer.lr=3e-5)");
  EXPECT_THAT(trial_of_job(run, run.job(5).name()), HasSubstr("trial 2 ("))
      << "the second align job";
  EXPECT_EQ(trial_of_job(run, "report"), "");
}

TEST(ExpandSweep, SharesHaveAllTrialsOnceAndTheSameNames) {
  const Config config = config_with(
      R"(parameter { path: "train.optimizer.lr" values: ["1e-5", "2e-5", "3e-5", "4e-5", "5e-5"] })");
  const Config whole = resolve_run(config, "text");
  std::vector<int> numbers;
  for (int i = 1; i <= 3; ++i) {
    const Config part = resolve_run(config, "text", {}, parse_share(str(i, "/3")));
    for (const proto::Trial& trial : part.trial()) {
      numbers.push_back(trial.number());
      EXPECT_EQ(trial.job(), whole.trial(trial.number()).job());
      EXPECT_GE(find_job(part, trial.job()), 0);
    }
  }
  EXPECT_THAT(numbers, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(share_folder(parse_share("2/3")), "share_2_of_3");
  for (const char* bad : {"0/3", "4/3", "1", "1/", "a/b", "1/3x", "-1/3"})
    EXPECT_THROW(std::ignore = parse_share(bad), InputError) << bad;
  EXPECT_THROW(std::ignore = resolve_run(config, "text", {}, parse_share("1/6")), InputError);
}

TEST(ExpandSweep, SharesWriteNoModels) {
  const Config config = parse_config(str(kJobs, R"(
      job { name: "score" needs: "export" evaluate { models: "/nowhere/model" tokens: "v.h5" sequences: 2 sequence_length: 32 } }
      sweep { objective: "perplexity" parameter { path: "evaluate.sequences" values: ["2", "3"] } })"),
                                     "text");
  EXPECT_EQ(resolve_run(config, "text").trial_size(), 2) << "of one model, written once";
  try {
    std::ignore = resolve_run(config, "text", {}, parse_share("2/2"));
    ADD_FAILURE() << "was taken";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("every share would write /nowhere/model, by job export"),
                      HasSubstr("job:NAME")));
  }
}

TEST(ExpandSweep, AThousandJobsTakeNoTime) {
  std::string values;
  for (int i = 1; i <= 250; ++i) values += str(i == 1 ? "" : ", ", "\"", i, "e-5\"");
  const Config run =
      expanded("parameter { path: \"train.optimizer.lr\" values: [" + values + "] }");
  EXPECT_EQ(run.job_size(), 1001);
}

/// The n-th example of docs/sweeps.md, from 0.
std::string example(int n) {
  const std::string page = read_file(HALO_SOURCE "/docs/sweeps.md"), fence = "```textproto\n";
  std::size_t at = 0;
  for (int i = 0; i <= n; ++i) at = page.find(fence, at) + fence.size();
  return page.substr(at, page.find("```", at) - at);
}

TEST(ExpandSweep, TheExamplesOfItsPageAreGood) {
  const std::string grid = example(0), halving = example(1), ablations = example(2);
  const Config run = resolve_run(parse_config(grid, "example"), "example");
  EXPECT_EQ(run.trial_size(), 12);
  EXPECT_EQ(std::ranges::count(kinds(run), "align"), 1);
  const std::string strategy = "strategy: GRID";
  ASSERT_NE(grid.find(strategy), std::string::npos);
  std::string halved = grid;
  halved.replace(halved.find(strategy), strategy.size(),
                 halving.substr(0, halving.find("trials")));  // there are 12 combinations
  EXPECT_EQ(resolve_run(parse_config(halved, "example"), "example").trial_size(), 12);
  Config other = parse_config(str(kJobs, ablations), "example");
  apply_override(other, "job[select].select.strategy=IMPORTANCE");
  apply_override(other, "job[select].select.tasks=recall.jsonl");
  EXPECT_EQ(resolve_run(other, "example").trial_size(), 12);
}

TEST(ExpandSweep, BadSweepsAreToldWhatIsWrong) {
  EXPECT_THAT(error_of(R"(parameter { path: "train.optimiser.lr" values: "1" })"),
              AllOf(HasSubstr("text: sweep.parameter[train.optimiser.lr]"),
                    HasSubstr("did you mean \"optimizer\"")));
  EXPECT_THAT(error_of(R"(parameter { path: "train.steps" values: ["10", "many"] })"),
              HasSubstr("train.steps=many: \"many\" does not fit steps"));
  EXPECT_THAT(
      error_of(R"(parameter { path: "job[tune].train.optimizer.lr" values: ["1e-5", "-1"] })"),
      AllOf(HasSubstr("job[tune].train.optimizer.lr is -1"),
            HasSubstr("in trial 1 (job[tune].train.optimizer.lr=-1)")));
  EXPECT_THAT(error_of(R"(parameter { path: "threads" values: ["1", "2"] })"),
              HasSubstr("threads is of the whole run"));
  EXPECT_THAT(error_of(R"(parameter { path: "job[tune].name" values: ["a", "b"] })"),
              HasSubstr("cannot have another name"));
  EXPECT_THAT(error_of(R"(parameter { path: "seed" values: "1" } objective: "validation_los")"),
              HasSubstr("did you mean \"validation_loss\"?"));
  EXPECT_THAT(error_of(R"(parameter { path: "seed" values: "1" } job: "allign")"),
              HasSubstr("did you mean \"align\"?"));
  EXPECT_THAT(error_of(R"(parameter { path: "seed" values: "1" } job: "align")"),
              HasSubstr("job align has no train.validation"));
  EXPECT_THAT(error_of(R"(parameter { path: "seed" values: "1" } objective: "perplexity")"),
              HasSubstr("the config has no evaluate job"));
  EXPECT_THROW(
      std::ignore = resolve_run(parse_config(str(kJobs, "trial { number: 1 }"), "text"), "text"),
      InputError);
  EXPECT_THROW(
      std::ignore = resolve_run(parse_config(kJobs, "text"), "text", {}, parse_share("1/2")),
      InputError);
}

TEST(ExpandSweep, HalvingNeedsTrialsThatCanBeCompared) {
  const std::string lr =
      R"(strategy: SUCCESSIVE_HALVING parameter { path: "train.optimizer.lr" values: ["1e-5", "3e-5"] } )";
  EXPECT_THAT(error_of(lr), HasSubstr("min_steps is missing"));
  EXPECT_THAT(error_of(lr + "halving { min_steps: 80 }"), HasSubstr("a whole trial has 80 steps"));
  EXPECT_THAT(error_of(lr + "halving { min_steps: 8 reduction: 1 }"), HasSubstr("reduction is 1"));
  EXPECT_THAT(error_of(R"(strategy: SUCCESSIVE_HALVING halving { min_steps: 8 }
                          parameter { path: "train.steps" values: ["10", "30"] })"),
              HasSubstr("trials of 10 and of 30 steps"));
  EXPECT_THAT(error_of(R"(halving { min_steps: 8 } parameter { path: "seed" values: "1" })"),
              HasSubstr("is for SUCCESSIVE_HALVING alone"));
  EXPECT_THAT(error_of(lr + "halving { min_steps: 8 }"), "none");
}

}  // namespace
}  // namespace halo::launch
