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

/// As if the rank's heartbeats had come all the time.
RunStatus heard_at(double now) {
  RunStatus status = sample_status();
  status.heard[0].heard = now;
  return status;
}

TEST(HealthTest, ARunThatGetsOnIsHealthy) {
  EXPECT_TRUE(health_of(sample_status(), 1000).ok);
  EXPECT_TRUE(health_of(heard_at(990 + 600), 990 + 600).ok);
}

TEST(HealthTest, TenMinutesWithoutAStepAreTooLong) {
  const Health health = health_of(heard_at(990 + 601), 990 + 601);
  EXPECT_FALSE(health.ok);
  EXPECT_THAT(health.reason, HasSubstr("job distill has ended no step for 10 min"));
  EXPECT_THAT(health.reason, HasSubstr("1 of 10 are done"));
}

TEST(HealthTest, LongStepsHaveLonger) {
  RunStatus status = heard_at(990 + 2001);
  StepMetrics slow = sample_step(0);
  slow.step_ms = 100e3;
  status.jobs[1].progress = {};
  status.jobs[1].progress.add(slow);
  EXPECT_TRUE(health_of(status, 990 + 1999).ok);
  EXPECT_FALSE(health_of(status, 990 + 2001).ok);
}

TEST(HealthTest, JobsWithoutStepsAreNotJudged) {
  RunStatus status = heard_at(1e6);
  status.jobs[1].state = JobState::kDone;
  status.jobs[2].state = JobState::kRunning;
  EXPECT_TRUE(health_of(status, 1e6).ok);
}

TEST(HealthTest, AFailedJobIsNotHealthy) {
  RunStatus status = sample_status();
  status.jobs[0].state = JobState::kFailed;
  status.jobs[0].reason = "the loss of step 3 is nan";
  EXPECT_EQ(health_of(status, 1000).reason, "job align failed: the loss of step 3 is nan");
}

TEST(HealthTest, ARankWithoutHeartbeatsIsNotHealthyAfterHalfAMinute) {
  RunStatus status = sample_status();
  EXPECT_TRUE(health_of(status, 998 + 30).ok);
  EXPECT_THAT(health_of(status, 998 + 31).reason,
              HasSubstr("rank 0 (host node1, pid 17) has sent no heartbeat for 31"));
  status.heard[0].beat.set_phase("ended");
  EXPECT_TRUE(health_of(status, 998 + 31).ok) << "it will say no more";
  status = sample_status();
  status.ended = true;
  EXPECT_TRUE(health_of(status, 998 + 31).ok);
}

TEST(RankStateTest, TheWorstThatIsKnownCounts) {
  MonitoredRank rank = sample_status().heard[0];
  EXPECT_EQ(state_of(rank, 1000), RankState::kWell);
  EXPECT_EQ(reason_of(rank, 1000), "");
  rank.slower = 1.6;
  EXPECT_EQ(state_of(rank, 1000), RankState::kSlow);
  EXPECT_THAT(reason_of(rank, 1000), HasSubstr("0.2 s a step, 1.6 times the median"));
  EXPECT_EQ(state_of(rank, 998 + 5.1), RankState::kSilent);
  EXPECT_THAT(reason_of(rank, 998 + 20), HasSubstr("no heartbeat for 20"));
  rank.gone = 999;
  EXPECT_EQ(state_of(rank, 1000), RankState::kGone);
  rank.beat.set_phase("ended");
  EXPECT_EQ(state_of(rank, 1000), RankState::kEnded);
  rank.beat.set_failure("loss nan");
  EXPECT_EQ(state_of(rank, 1000), RankState::kFailed);
  EXPECT_EQ(reason_of(rank, 1000), "loss nan");
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

/// Going back writes a line without a time for each step that is left out.
TEST(JobProgressTest, StepsThatAreLeftOutTookNoTime) {
  JobProgress progress;
  StepMetrics m = sample_step(0);
  m.step_ms = 4000;
  progress.add(m);
  m.skipped = true;
  m.step_ms = 0;
  for (m.step = 1; m.step < 5; ++m.step) progress.add(m);
  EXPECT_DOUBLE_EQ(*progress.seconds_left(10), 5 * 4.0);
  m.step_ms = 2000;  // skipped after it was computed
  progress.add(m);
  EXPECT_DOUBLE_EQ(*progress.seconds_left(10), 4 * 3.0);
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
  EXPECT_EQ(status["ranks"][0]["state"], "well");
  EXPECT_EQ(status["ranks"][0]["phase_seconds"], 2.5);
  EXPECT_EQ(status["ranks"][0]["seconds_since_progress"], 3);
  EXPECT_EQ(status["ranks"][0]["last_call"], "#17 all_reduce data 4096 bytes step 1: waiting");
  EXPECT_EQ(status["ranks"][0]["waits_for"], "all_reduce data 4096 bytes step 1");
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
        "halo_rank_step{rank=\"0\",host=\"node1\"} 1\n",
        "halo_rank_well{rank=\"0\",host=\"node1\"} 1\n",
        "halo_rank_seconds_since_progress{rank=\"0\",host=\"node1\"} 3\n",
        "halo_ranks_in_state{state=\"well\"} 1\n", "halo_ranks_in_state{state=\"silent\"} 0\n",
        "halo_ranks_in_state{state=\"unheard\"} 3\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(text, Not(HasSubstr("halo_steps{job=\"export\"}"))) << "it has no steps";
  for (std::size_t at = 0; (at = text.find("# TYPE ", at)) != std::string::npos; ++at) {
    const std::string line = text.substr(at, text.find('\n', at) + 1 - at);
    EXPECT_EQ(text.find(line), text.rfind(line)) << line;
  }
}

TEST(PrometheusTest, LargeRunsHaveNoMoreThan256SeriesOfAFamily) {
  RunStatus status = sample_status();
  status.ranks = 1000;
  for (int rank = 1; rank < 1000; ++rank) {
    status.heard.push_back(status.heard[0]);
    status.heard.back().beat.set_rank(rank);
  }
  status.heard[999].heard = 900;
  const std::string text = prometheus_text(status, 1000);
  EXPECT_THAT(text, HasSubstr("halo_rank_step{rank=\"255\","));
  EXPECT_THAT(text, Not(HasSubstr("rank=\"256\"")));
  EXPECT_THAT(text, HasSubstr("halo_ranks_in_state{state=\"well\"} 999\n"));
  EXPECT_THAT(text, HasSubstr("halo_ranks_in_state{state=\"silent\"} 1\n"));
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

proto::Heartbeat beat_of(int rank, std::int64_t step, double own_seconds = 1,
                         const std::string& job = "distill") {
  proto::Heartbeat beat;
  beat.set_rank(rank);
  beat.set_size(4);
  beat.set_job(job);
  beat.set_step(step);
  beat.set_phase("forward");
  beat.set_points(step);
  beat.set_own_seconds(own_seconds);
  return beat;
}

TEST(StatusBoardTest, KeepsWhatItIsTold) {
  RunStatus first = sample_status();
  first.heard.clear();
  StatusBoard board(first);
  board.job_state("export", JobState::kSkipped, 1001, "job distill failed");
  board.job_ranks("distill", 3);
  board.beat(beat_of(2, 5), 1003);
  board.beat(beat_of(0, 5), 1004);
  board.beat(beat_of(2, 5), 1005, /*gone_at=*/1006);
  board.beat(beat_of(1, 5, 1, "nobody"), 1007);
  board.job_state("nobody", JobState::kDone, 1);
  const RunStatus status = board.read();
  EXPECT_EQ(status.jobs.size(), 3U);
  EXPECT_EQ(status.find("export")->reason, "job distill failed");
  EXPECT_EQ(status.find("distill")->ranks, 3);
  EXPECT_EQ(status.find("distill")->changed, 1004) << "a rank's first word of step 5";
  std::vector<int> ranks;
  for (const MonitoredRank& rank : status.heard) ranks.push_back(rank.beat.rank());
  EXPECT_THAT(ranks, testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(status.heard.back().got_on, 1003) << "it said nothing new since";
  EXPECT_EQ(state_of(status.heard.back(), 1007), RankState::kGone);
}

TEST(StatusBoardTest, AnEndStopsWhatRuns) {
  StatusBoard board(sample_status());
  board.ended(1001);
  const RunStatus status = board.read();
  EXPECT_TRUE(status.ended);
  EXPECT_EQ(state_of(status, *status.find("align")), "done");
  EXPECT_EQ(state_of(status, *status.find("distill")), "stopped");
  EXPECT_EQ(state_of(status, *status.find("export")), "waiting");
}

TEST(StatusBoardTest, SlowRanksOfAJobAreNamed) {
  RunStatus first = sample_status();
  first.heard.clear();
  StatusBoard board(first);
  for (int step = 0; step < 20; ++step) {
    for (int rank = 0; rank < 3; ++rank)
      board.beat(beat_of(rank, step, rank == 1 ? 1.7 : 1), step + 0.1 * rank);
    board.beat(beat_of(3, step, 9, "align"), step + 0.4);  // alone in its job
  }
  const RunStatus status = board.read();
  EXPECT_EQ(state_of(status.heard[0], 20), RankState::kWell);
  EXPECT_EQ(state_of(status.heard[1], 20), RankState::kSlow);
  EXPECT_DOUBLE_EQ(status.heard[1].slower, 1.7);
  EXPECT_EQ(state_of(status.heard[3], 20), RankState::kWell);
}

TEST(StatusBoardTest, IsReadWhileItIsTold) {
  RunStatus first = sample_status();
  first.heard.clear();
  StatusBoard board(first);
  std::jthread ranks([&] {
    for (std::int64_t step = 0; step < 2000; ++step)
      board.beat(beat_of(0, step), static_cast<double>(step));
  });
  for (std::int64_t seen = 0; seen < 1999;) {
    const RunStatus status = board.read();
    if (status.heard.empty()) continue;
    ASSERT_GE(status.heard[0].beat.step(), seen);
    seen = status.heard[0].beat.step();
    ASSERT_EQ(status.heard[0].beat.points(), seen);
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
  EXPECT_EQ(status.jobs[1].state, JobState::kWaiting);
}

}  // namespace
}  // namespace halo::launch
