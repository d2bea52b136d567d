// A run whose monitor is attacked all the time: its results are those of a run without a monitor, bit for bit, and its
// steps take as long, which is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/metrics.h"
#include "tests/monitor/hostile.h"
#include "tests/monitor/monitored_run.h"

namespace halo::test {
namespace {

constexpr int kRequests = 1000;
constexpr const char* kToken = "0123456789abcdef-good";

double median_step_ms(const ResumeCase& resume, const std::string& output) {
  std::vector<double> times;
  for (const char* job : kStages) {
    for (const launch::StepMetrics& m :
         launch::read_metrics(resume.job(output, job) / "metrics.jsonl"))
      times.push_back(m.step_ms);
  }
  std::ranges::nth_element(times, times.begin() + std::ssize(times) / 2);
  return times[times.size() / 2];
}

TEST(HostileRunTest, AThousandHostileRequestsLeaveTheRunUnharmed) {
  const ResumeCase resume(300);
  std::ignore = resume.run(0, "alone");
  setenv("HALO_MONITOR_TOKEN", kToken, 1);
  MonitoredRun run(resume, 0, "attacked");
  unsetenv("HALO_MONITOR_TOKEN");
  const std::string authorization = str("Authorization: Bearer ", kToken, "\r\n");
  HostileClients hostile(run.port());
  int requests = 0, good = 0;
  try {
    for (; !run.program().has_ended(); ++requests) {
      hostile.attack();
      if (requests % 100 == 0 && get(run.port(), "/api/status", authorization).status == 200)
        ++good;
      std::this_thread::sleep_for(std::chrono::milliseconds(requests < kRequests ? 1 : 10));
    }
  } catch (const Error&) {
    // The run has ended and listens no more.
  }
  const ProgramResult result = run.program().wait();
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_GE(requests, kRequests) << "the run was too short for them";
  EXPECT_GE(good, kRequests / 100);
  resume.expect_equal("attacked", "alone");
  std::ignore = resume.run(0, "alone again");
  std::cout << requests << " hostile requests; median step: " << median_step_ms(resume, "attacked")
            << " ms, without a monitor " << median_step_ms(resume, "alone") << " and "
            << median_step_ms(resume, "alone again") << " ms\n";
}

}  // namespace
}  // namespace halo::test
