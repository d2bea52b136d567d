// What is told of a run, as pure functions: health, JSON, Prometheus' text, and what the board makes of what it is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "launch/config.h"
#include "launch/monitor/describe_run.h"
#include "launch/monitor/status_board.h"
#include "launch/monitor/status_text.h"
#include "tests/monitor/sample_status.h"

namespace halo::launch {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST(HealthTest, ARunThatGetsOnIsHealthy) {
  EXPECT_TRUE(health_of(sample_status(), 1000).ok);
  EXPECT_TRUE(health_of(sample_status(), 990 + 600).ok);
}

TEST(HealthTest, TenMinutesWithoutAStepAreTooLong) {
  const Health health = health_of(sample_status(), 990 + 601);
  EXPECT_FALSE(health.ok);
  EXPECT_THAT(health.reason, HasSubstr("job distill has ended no step for 10 min"));
  EXPECT_THAT(health.reason, HasSubstr("1 of 10 are done"));
}

TEST(HealthTest, LongStepsHaveLonger) {
  RunStatus status = sample_status();
  StepMetrics slow = sample_step(0);
  slow.step_ms = 100e3;
  status.jobs[1].progress = {};
  status.jobs[1].progress.add(slow);
  EXPECT_TRUE(health_of(status, 990 + 1999).ok);
  EXPECT_FALSE(health_of(status, 990 + 2001).ok);
}

TEST(HealthTest, JobsWithoutStepsAreNotJudged) {
  RunStatus status = sample_status();
  status.jobs[1].state = MonitoredState::kDone;
  status.jobs[2].state = MonitoredState::kRunning;
  EXPECT_TRUE(health_of(status, 1e6).ok);
}

TEST(HealthTest, AFailedJobIsNotHealthy) {
  RunStatus status = sample_status();
  status.jobs[0].state = MonitoredState::kFailed;
  status.jobs[0].reason = "the loss of step 3 is nan";
  EXPECT_EQ(health_of(status, 1000).reason, "job align failed: the loss of step 3 is nan");
}

TEST(JobProgressTest, TimeLeftFollowsTheLastSteps) {
  JobProgress progress;
  EXPECT_EQ(progress.seconds_left(10), std::nullopt);
  StepMetrics m = sample_step(0);
  m.step_ms = 4000;
  progress.add(m);
  EXPECT_DOUBLE_EQ(*progress.seconds_left(10), 9 * 4.0);
  m.step = 1;
  m.step_ms = 2000;
  progress.add(m);
  EXPECT_DOUBLE_EQ(*progress.seconds_left(10), 8 * 3.0) << "a plain mean at first";
  for (m.step = 2; m.step < 400; ++m.step) progress.add(m);
  EXPECT_NEAR(*progress.seconds_left(410), 10 * 2.0, 0.01) << "the slow first step is forgotten";
  EXPECT_EQ(*progress.seconds_left(5), 0) << "never below 0";
}

TEST(StatusJsonTest, HoldsTheRunItsJobsAndRanks) {
  const json status = json::parse(status_json(sample_status(), 1000));
  EXPECT_EQ(status["run"]["name"], "tiny");
  EXPECT_EQ(status["run"]["seconds"], 100);
  EXPECT_EQ(status["run"]["ended"], false);
  EXPECT_EQ(status["health"]["ok"], true);
  ASSERT_EQ(status["jobs"].size(), 3U);
  EXPECT_EQ(status["jobs"][0]["state"], "done");
  EXPECT_TRUE(status["jobs"][0]["last"].is_null());
  const json& job = status["jobs"][1];
  EXPECT_EQ(job["step"], 1);
  EXPECT_EQ(job["steps"], 10);
  EXPECT_EQ(job["seconds_left"], 9 * 0.25);
  EXPECT_EQ(job["last"], json::parse(to_json_line(sample_step(0)))) << "as in metrics.jsonl";
  ASSERT_EQ(status["ranks"].size(), 1U);
  EXPECT_EQ(status["ranks"][0]["seconds_since_heard"], 2);
  EXPECT_EQ(status["ranks"][0]["host"], "node1");
}

TEST(StatusJsonTest, NumbersThatAreNotFiniteAndTextThatIsNoUtf8) {
  RunStatus status = sample_status();
  StepMetrics m = sample_step(1);
  m.loss = std::numeric_limits<double>::quiet_NaN();
  status.jobs[1].progress.add(m);
  status.jobs[0].reason = "\xff\"<script>";
  const json parsed = json::parse(status_json(status, 1000));
  EXPECT_TRUE(parsed["jobs"][1]["last"]["loss"].is_null());
  EXPECT_EQ(parsed["jobs"][1]["last"]["loss_nonfinite"], "nan");
  EXPECT_EQ(parsed["jobs"][0]["reason"], "\xef\xbf\xbd\"<script>");
}

TEST(PrometheusTest, EveryFamilyOnceWithAllItsSamples) {
  const std::string text = prometheus_text(sample_status(), 1000);
  for (const char* line :
       {"halo_run_info{name=\"tiny\",output=\"runs/tiny\",version=\"0.1.0\"} 1\n", "halo_ranks 4\n",
        "halo_healthy 1\n",
        "# TYPE halo_job_state gauge\nhalo_job_state{job=\"align\",state=\"waiting\"} 0\n",
        "halo_job_state{job=\"align\",state=\"done\"} 1\n",
        "halo_job_state{job=\"distill\",state=\"running\"} 1\n",
        "halo_step{job=\"align\"} 0\nhalo_step{job=\"distill\"} 1\n",
        "halo_steps{job=\"distill\"} 10\n", "halo_loss{job=\"distill\"} 0.33333333333333331\n",
        "halo_tokens_per_second{job=\"distill\"} 16384\n",
        "halo_step_seconds{job=\"distill\"} 0.25\n",
        "halo_memory_bytes{job=\"distill\"} 1610612736\n",
        "halo_rank_seconds_since_heard{rank=\"0\",host=\"node1\"} 2\n",
        "halo_rank_step{rank=\"0\",host=\"node1\"} 1\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(text, Not(HasSubstr("halo_steps{job=\"export\"}"))) << "it has no steps";
  for (std::size_t at = 0; (at = text.find("# TYPE ", at)) != std::string::npos; ++at) {
    const std::string line = text.substr(at, text.find('\n', at) + 1 - at);
    EXPECT_EQ(text.find(line), text.rfind(line)) << line;
  }
}

TEST(PrometheusTest, LabelsAreEscapedAndNumbersAreItsWords) {
  RunStatus status = sample_status();
  status.output = "a\"b\\c\nd";
  StepMetrics m = sample_step(1);
  m.loss = std::numeric_limits<double>::quiet_NaN();
  m.grad_norm = std::numeric_limits<double>::infinity();
  status.jobs[1].progress.add(m);
  const std::string text = prometheus_text(status, 1000);
  EXPECT_THAT(text, HasSubstr(R"(output="a\"b\\c\nd")"));
  EXPECT_THAT(text, HasSubstr("halo_loss{job=\"distill\"} NaN\n"));
  EXPECT_THAT(text, HasSubstr("halo_grad_norm{job=\"distill\"} +Inf\n"));
}

TEST(StatusBoardTest, KeepsWhatItIsTold) {
  StatusBoard board(sample_status());
  board.job_state("export", MonitoredState::kSkipped, 1001, "job distill failed");
  board.job_ranks("distill", 3);
  board.step_ended("distill", sample_step(1), 1002);
  board.at_work(2, "distill", 5, "step", 1003);
  board.heard({1, "node2", 18, "distill", 4, "validation", 1004});
  board.at_work(1, "distill", 5, "step", 1005);
  for (const char* nobody : {"", "nobody"}) {
    board.step_ended(nobody, sample_step(1), 1);
    board.job_state(nobody, MonitoredState::kDone, 1);
  }
  const RunStatus status = board.read();
  EXPECT_EQ(status.jobs.size(), 3U);
  EXPECT_EQ(status.find("export")->reason, "job distill failed");
  EXPECT_EQ(status.find("distill")->ranks, 3);
  EXPECT_EQ(status.find("distill")->progress.step(), 2);
  EXPECT_EQ(status.find("distill")->changed, 1002);
  ASSERT_EQ(status.heard.size(), 3U);
  for (int rank = 0; rank < 3; ++rank)
    EXPECT_EQ(status.heard[static_cast<std::size_t>(rank)].rank, rank);
  EXPECT_EQ(status.heard[1].host, "node2") << "stays when the rank goes on";
  EXPECT_EQ(status.heard[1].phase, "step");
}

TEST(StatusBoardTest, AnEndStopsWhatRuns) {
  StatusBoard board(sample_status());
  board.ended(1001);
  EXPECT_TRUE(board.read().ended);
  EXPECT_EQ(board.read().find("align")->state, MonitoredState::kDone);
  EXPECT_EQ(board.read().find("distill")->state, MonitoredState::kStopped);
  EXPECT_EQ(board.read().find("export")->state, MonitoredState::kWaiting);
}

TEST(StatusBoardTest, IsReadWhileItIsTold) {
  StatusBoard board(sample_status());
  std::jthread training([&] {
    for (std::int64_t step = 1; step < 2000; ++step) {
      board.at_work(0, "distill", step, "step", static_cast<double>(step));
      board.step_ended("distill", sample_step(step), static_cast<double>(step));
    }
  });
  for (std::int64_t seen = 0; seen < 2000;) {
    const RunStatus status = board.read();
    const JobProgress& progress = status.find("distill")->progress;
    ASSERT_GE(progress.step(), seen);
    ASSERT_EQ(progress.last->loss, sample_step(progress.last->step).loss);
    seen = progress.step();
  }
}

TEST(DescribeRunTest, AllJobsWaitInTheirOrder) {
  const Config config = parse_config(R"(
    output: "runs/tiny/"
    job { name: "out" needs: "align" export { to: "x" } }
    job { name: "align" train { stage: ALIGN teacher: "t" steps: 7 data { tokens: "f" } } })",
                                     "test");
  const RunStatus status = describe_run(config, 2, "1.2.3", 5);
  EXPECT_EQ(status.name, "tiny");
  ASSERT_EQ(status.jobs.size(), 2U);
  EXPECT_EQ(status.jobs[0].name, "align");
  EXPECT_EQ(status.jobs[0].kind, "align");
  EXPECT_EQ(status.jobs[0].steps, 7);
  EXPECT_EQ(status.jobs[0].ranks, 2);
  EXPECT_EQ(status.jobs[0].metrics, "runs/tiny/align/metrics.jsonl");
  EXPECT_EQ(status.jobs[1].name, "out");
  EXPECT_EQ(status.jobs[1].kind, "export");
  EXPECT_EQ(status.jobs[1].steps, 0);
  EXPECT_EQ(status.jobs[1].state, MonitoredState::kWaiting);
}

}  // namespace
}  // namespace halo::launch
