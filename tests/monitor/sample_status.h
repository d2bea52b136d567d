#pragma once
#include "launch/monitor/run_status.h"

namespace halo::launch {

inline constexpr const char* kToken = "0123456789abcdef-good";

inline StepMetrics sample_step(std::int64_t step) {
  StepMetrics m;
  m.step = step;
  m.loss = 1.0 / 3 + static_cast<double>(step);
  m.grad_norm = 0.1;
  m.lr = 1e-3;
  m.tokens = 4096;
  m.step_ms = 250;
  m.tokens_per_s = 16384;
  m.mfu = 0.41;
  m.memory_gib = 1.5;
  return m;
}

/// A run at 1000 seconds: one job done, one running, two to come.
inline RunStatus sample_status() {
  RunStatus status;
  status.name = "tiny";
  status.output = "runs/tiny";
  status.version = "0.1.0";
  status.ranks = 4;
  status.begun = 900;
  status.begun_at = 1.7e9;
  for (const char* name : {"align", "distill", "export"}) {
    MonitoredJob& job = status.jobs.emplace_back();
    job.name = job.kind = name;
    job.changed = 900;
  }
  status.jobs[0].state = MonitoredState::kDone;
  status.jobs[1].state = MonitoredState::kRunning;
  for (MonitoredJob* job : {&status.jobs[0], &status.jobs[1]}) job->steps = 10;
  status.jobs[1].progress.add(sample_step(0));
  status.jobs[1].changed = 990;
  MonitoredRank& rank = status.heard.emplace_back();
  rank.host = "node1";
  rank.pid = 17;
  rank.job = "distill";
  rank.step = 1;
  rank.phase = "step";
  rank.heard = 998;
  return status;
}

}  // namespace halo::launch
