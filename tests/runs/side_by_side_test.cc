// Jobs of one run side by side on parts of its ranks: what each gives, when one fails, and when all are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/base/file.h"
#include "launch/metrics.h"
#include "launch/scheduler/journal.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using launch::proto::SchedulerEvent;
using testing::HasSubstr;

constexpr int kSteps = 6;

class SideBySideTest : public testing::Test {
 protected:
  /// An align job on two ranks.
  [[nodiscard]] std::string align(const std::string& name, double lr,
                                  const fs::path& tokens) const {
    return str(
        "job { name: \"", name, "\" ranks: 2 train { stage: ALIGN teacher: \"",
        golden_.teacher().string(), "\" data { tokens: \"", tokens.string(),
        "\" sequence_length: 32 first_sample: 0 } batch { sequences: 4 micro_sequences: 1 }"
        " steps: ",
        kSteps, " optimizer { lr: ", lr,
        " min_lr: 1e-5 warmup_steps: 2 } checkpoint { every_steps: 2 asynchronous: false } } }\n");
  }
  ProgramResult run(int ranks, const std::string& jobs, const std::string& output) const {
    const fs::path config = folder_ / (output + ".textproto");
    write_file_atomically(config, "precision: FP64 threads: 1\n" + jobs);
    return run_program(train_command(
        ranks, {"--config", config.string(), "--output", (folder_ / output).string()}));
  }
  [[nodiscard]] std::vector<launch::StepMetrics> metrics(const std::string& output,
                                                         const std::string& job) const {
    return launch::read_metrics(folder_ / (output + '/' + job + "/metrics.jsonl"));
  }
  void expect_equal(const std::string& output, const std::string& alone, const std::string& job) {
    SCOPED_TRACE(job);
    const auto a = metrics(output, job), b = metrics(alone, job);
    ASSERT_EQ(a.size(), static_cast<std::size_t>(kSteps));
    ASSERT_EQ(b.size(), a.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].loss, b[i].loss) << i;
      EXPECT_EQ(a[i].grad_norm, b[i].grad_norm) << i;
    }
  }
  /// What happened, as "+left" for a job that started and "-left" for one that was done.
  [[nodiscard]] std::vector<std::string> history(const std::string& output) const {
    std::vector<std::string> words;
    const launch::Journal journal(folder_ / (output + "/journal"));
    for (const SchedulerEvent& event : journal.events()) {
      if (event.has_started()) words.push_back('+' + event.started().name());
      if (event.has_ended())
        words.push_back((event.ended().succeeded() ? '-' : '!') + event.ended().name());
    }
    return words;
  }

  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

TEST_F(SideBySideTest, EachJobGivesWhatItGivesAlone) {
  const std::string left = align("left", 1e-3, golden_.tokens());
  const std::string right = align("right", 3e-3, golden_.tokens());
  const ProgramResult result = run(4, left + right + "job { name: \"report\" report {} }", "both");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("3 jobs on 4 ranks in "));
  const auto events = history("both");
  ASSERT_EQ(events.size(), 6U);
  EXPECT_THAT((std::vector{events[0], events[1]}), testing::ElementsAre("+left", "+right"));
  EXPECT_THAT((std::vector{events[4], events[5]}), testing::ElementsAre("+report", "-report"));
  ASSERT_EQ(run(2, left, "left alone").exit_code, 0);
  ASSERT_EQ(run(2, right, "right alone").exit_code, 0);
  expect_equal("both", "left alone", "left");
  expect_equal("both", "right alone", "right");

  // A rank of each dies at once with all others; the same command goes on.
  setenv("HALO_DRILL", "1:3:abort", 1);
  EXPECT_NE(run(4, left + right, "killed").exit_code, 0);
  unsetenv("HALO_DRILL");
  const ProgramResult again = run(4, left + right, "killed");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("going on after step 2 of 6"));
  expect_equal("killed", "both", "left");
  expect_equal("killed", "both", "right");
}

TEST_F(SideBySideTest, AJobThatFailsLeavesTheOthersAlone) {
  write_file_atomically(folder_ / "bad.h5", std::string(5000, 'x'));
  std::string after = align("after", 1e-3, golden_.tokens());
  after.replace(after.find("ranks"), 0, "needs: \"bad\" ");
  const std::string jobs = align("bad", 1e-3, folder_ / "bad.h5") + after +
                           align("good", 1e-3, golden_.tokens()) +
                           "job { name: \"report\" report {} }";
  const ProgramResult result = run(4, jobs, "out");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("halo_train: error: job bad: "));
  EXPECT_THAT(result.output, HasSubstr("bad.h5"));
  EXPECT_THAT(result.output, HasSubstr("job after was not begun: it needs job bad, which failed"));
  EXPECT_EQ(metrics("out", "good").size(), static_cast<std::size_t>(kSteps));
  EXPECT_TRUE(fs::exists(folder_ / "out/report.html"));

  fs::copy_file(golden_.tokens(), folder_ / "bad.h5", fs::copy_options::overwrite_existing);
  const ProgramResult mended = run(4, jobs, "out");
  EXPECT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_THAT(history("out"), testing::IsSupersetOf({"!bad", "-bad", "-after", "-good"}));
  EXPECT_EQ(metrics("out", "after").size(), static_cast<std::size_t>(kSteps));
}

TEST_F(SideBySideTest, MoreRanksThanThereAreAreRefused) {
  std::string job = align("wide", 1e-3, golden_.tokens());
  job.replace(job.find("ranks: 2"), 8, "ranks: 8");
  const ProgramResult result = run(2, job, "out");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output,
              HasSubstr("job wide: ranks is 8 and there are 2: start more, or give fewer"));
}

/// As halo_launch starts a run again without the hosts that are gone.
TEST_F(SideBySideTest, WhenHostsAreLostJobsShrinkOrFailAlone) {
  std::string wide = align("wide", 1e-3, golden_.tokens());
  wide.replace(wide.find("ranks: 2"), 8, "ranks: 8");
  std::string split = align("split", 1e-3, golden_.tokens());
  split.replace(split.find("ranks: 2"), 8, "ranks: 8 layout { context: 4 }");
  setenv("HALO_RESTARTS", "1", 1);
  const ProgramResult result = run(2, split + wide, "out");
  unsetenv("HALO_RESTARTS");
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("job split: its hosts are gone: 2 ranks are left of the 8"));
  EXPECT_THAT(result.output, HasSubstr("job wide: hosts are gone: it goes on on 2 of its 8 ranks"));
  EXPECT_EQ(metrics("out", "wide").size(), static_cast<std::size_t>(kSteps));
}

}  // namespace
}  // namespace halo::test
