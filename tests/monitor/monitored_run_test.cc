// A run with a monitor: what it shows is what stands in metrics.jsonl, and what cannot be listened on ends it before it
// begins.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/monitor/monitored_run.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

/// The lines of a job's metrics.jsonl.
std::vector<json> metrics_of(const ResumeCase& resume, const std::string& job) {
  std::vector<json> lines;
  std::istringstream text(read_file(resume.job("out", job) / "metrics.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
  return lines;
}

/// The statuses that a run gave until it ended.
std::vector<json> watch(const MonitoredRun& run) {
  std::vector<json> seen;
  for (;;) {
    HttpAnswer answer;
    try {
      answer = get(run.port(), "/api/status");
    } catch (const Error&) {
      return seen;  // it listens no more
    }
    if (answer.status != 200) continue;  // it ended while it was asked
    seen.push_back(json::parse(answer.body));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void expect_metrics_numbers(const json& job, const std::vector<json>& lines) {
  if (job["last"].is_null()) return;
  const std::size_t step = job["last"]["step"];
  ASSERT_LT(step, lines.size());
  EXPECT_EQ(job["last"], lines[step]);
  EXPECT_EQ(job["step"], step + 1);
}

void expect_same_numbers(int ranks) {
  const ResumeCase resume(20);
  MonitoredRun run(resume, ranks, "out");
  const std::vector<json> seen = watch(run);
  const ProgramResult result = run.program().wait();
  EXPECT_EQ(result.exit_code, 0) << result.output;
  ASSERT_FALSE(seen.empty());
  std::map<std::string, std::vector<json>> lines;
  for (const char* job : kStages) lines[job] = metrics_of(resume, job);
  for (const json& status : seen) {
    EXPECT_EQ(status["health"]["ok"], true);
    EXPECT_EQ(status["run"]["ranks"], std::max(ranks, 1));
    for (const json& job : status["jobs"]) expect_metrics_numbers(job, lines[job["name"]]);
  }
  const json& last = seen.back();
  EXPECT_EQ(last["run"]["ended"], true) << "who watches sees the end";
  ASSERT_EQ(last["jobs"].size(), 3U);
  for (const json& job : last["jobs"]) {
    EXPECT_EQ(job["state"], "done");
    EXPECT_EQ(job["step"], 20);
  }
  ASSERT_EQ(last["ranks"].size(), static_cast<std::size_t>(std::max(ranks, 1)));
  EXPECT_THAT(last["ranks"][0]["job"], testing::AnyOf("finetune", "")) << "told at the end";
  EXPECT_GT(last["ranks"][0]["pid"], 1);
}

TEST(MonitoredRunTest, ShowsTheNumbersOfMetricsAndTheEnd) { expect_same_numbers(0); }
TEST(MonitoredRunTest, LikewiseUnderMpirun) { expect_same_numbers(2); }

TEST(MonitoredRunTest, CurvesOfARunThatGoesOnHoldItsEarlierSteps) {
  const ResumeCase resume(100000);
  EXPECT_TRUE(resume.stop(0, "out", "align", 30));
  const std::size_t before = metrics_of(resume, "align").size();
  MonitoredRun run(resume, 0, "out");
  run.wait_for_steps("align", static_cast<std::int64_t>(before) + 2);
  const json curve = json::parse(get(run.port(), "/api/metrics?job=align&points=1000").body);
  const std::string prometheus = get(run.port(), "/metrics").body;
  run.program().signal(SIGTERM);
  EXPECT_EQ(run.program().wait().exit_code, 0);
  EXPECT_THAT(prometheus, HasSubstr("halo_steps{job=\"align\"} 100000\n"));
  const std::vector<json> lines = metrics_of(resume, "align");
  ASSERT_GT(curve["points"].size(), before);
  for (const json& point : curve["points"]) {
    const json& line = lines[point[0].get<std::size_t>()];
    for (std::size_t i = 0; i < curve["columns"].size(); ++i)
      EXPECT_EQ(point[i], line[curve["columns"][i].get<std::string>()]);
  }
}

/// Two jobs beside each other, on two ranks each, that would take minutes.
std::string two_jobs(const GoldenCase& golden) {
  std::string config = "precision: FP64 threads: 1\n";
  for (const char* name : {"left", "right"})
    config += str("job { name: \"", name, "\" ranks: 2 train { stage: ALIGN teacher: \"",
                  golden.teacher().string(), "\" data { tokens: \"", golden.tokens().string(),
                  "\" sequence_length: 32 first_sample: 0 } batch { sequences: 2 } steps: 100000 "
                  "optimizer { lr: 1e-3 } checkpoint { every_steps: 0 } } }\n");
  return config;
}

/// Asks until it is so; the last answer.
json status_when(const MonitoredRun& run, const std::function<bool(const json&)>& is_so) {
  json status;
  for (int i = 0; i < 3000; ++i) {
    status = json::parse(get(run.port(), "/api/status").body);
    if (is_so(status)) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ADD_FAILURE() << "it never was so: " << status.dump(1);
  return status;
}

bool all_ranks_step(const json& status) {
  return status["ranks"].size() == 4 && std::ranges::all_of(status["ranks"], [](const json& rank) {
           return rank["state"] == "well" && rank["step"] > 0;
         });
}

TEST(MonitoredRunTest, ShowsEveryRankAndTheJobsOfOthersAndNamesARankThatIsStopped) {
  const TestFolder folder;
  const GoldenCase golden("tied", folder.path());
  write_file_atomically(folder / "two.textproto", two_jobs(golden));
  MonitoredRun run(train_command(4, {"--config", (folder / "two.textproto").string(), "--output",
                                     (folder / "out").string()}),
                   folder / "output.txt");
  const json status = status_when(run, all_ranks_step);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const json& told = status["ranks"][rank];
    EXPECT_EQ(told["rank"], rank);
    EXPECT_LT(told["seconds_since_heard"], 5);
    EXPECT_THAT(told["last_call"].get<std::string>(), HasSubstr(" bytes: ")) << told;
  }
  EXPECT_EQ(status["ranks"][0]["job"], status["ranks"][1]["job"]);
  EXPECT_NE(status["ranks"][1]["job"], status["ranks"][2]["job"]);
  for (const json& job : status["jobs"]) {
    std::istringstream text(read_file(folder.path() / "out" / job["name"] / "metrics.jsonl"));
    std::string line;
    for (int i = 0; i < job["step"]; ++i) std::getline(text, line);
    EXPECT_EQ(job["last"], json::parse(line)) << "whichever ranks do it";
  }

  const int pid = status["ranks"][3]["pid"];
  ::kill(pid, SIGSTOP);
  const json stopped =
      status_when(run, [](const json& now) { return now["ranks"][3]["state"] == "silent"; });
  EXPECT_THAT(stopped["ranks"][3]["reason"].get<std::string>(), HasSubstr("no heartbeat for "));
  EXPECT_LT(stopped["ranks"][3]["seconds_since_heard"], 10);
  EXPECT_NE(stopped["ranks"][2]["waits_for"], "") << "its neighbour waits for it";
  EXPECT_EQ(stopped["ranks"][0]["state"], "well");
  const std::string prometheus = get(run.port(), "/metrics").body;
  EXPECT_THAT(prometheus, HasSubstr("halo_ranks_in_state{state=\"silent\"} 1\n"));
  EXPECT_THAT(prometheus, testing::ContainsRegex("halo_rank_well.rank=\"3\",host=\"[^\"]*\". 0\n"));
  ::kill(pid, SIGCONT);
  std::ignore = status_when(run, all_ranks_step);
  run.program().signal(SIGUSR1);
  EXPECT_EQ(run.program().wait().exit_code, 0);
}

std::string refused(const ResumeCase& resume, int ranks, const std::vector<std::string>& options) {
  const ProgramResult result = run_program(resume.command(ranks, "refused", options));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_FALSE(std::filesystem::exists(resume.output("refused"))) << "nothing has begun";
  return result.output;
}

TEST(MonitoredRunTest, WhatCannotBeListenedOnEndsItBeforeItBegins) {
  const ResumeCase resume(100000);
  unsetenv("HALO_MONITOR_TOKEN");
  EXPECT_THAT(refused(resume, 0, {"--monitor", "nowhere"}), HasSubstr("--monitor nowhere: "));
  EXPECT_THAT(refused(resume, 2, {"--monitor", "0.0.0.0:0"}), HasSubstr("a token is needed"));
  EXPECT_THAT(refused(resume, 0, {"--monitor_token_file", "/no/token"}), HasSubstr("no --monitor"));
  EXPECT_THAT(refused(resume, 0, {"--monitor", "0", "--monitor_token_file", "/no/token"}),
              HasSubstr("/no/token"));
  setenv("HALO_MONITOR_TOKEN", "tooshort-secret", 1);
  EXPECT_THAT(refused(resume, 0, {"--monitor", "0"}),
              testing::AllOf(HasSubstr("HALO_MONITOR_TOKEN"), Not(HasSubstr("tooshort-secret"))));
  unsetenv("HALO_MONITOR_TOKEN");
  MonitoredRun first(resume, 0, "out");
  EXPECT_THAT(refused(resume, 0, {"--monitor", str("127.0.0.1:", first.port())}),
              HasSubstr("in use"));
}

}  // namespace
}  // namespace halo::test
