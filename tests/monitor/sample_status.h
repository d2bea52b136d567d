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

/// A run at 1000 seconds: one job done, one running, one to come. Its rank was heard then.
inline RunStatus sample_status(double heard = 998) {
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
  status.jobs[0].state = JobState::kDone;
  status.jobs[1].state = JobState::kRunning;
  for (MonitoredJob* job : {&status.jobs[0], &status.jobs[1]}) job->steps = 10;
  status.jobs[1].progress.add(sample_step(0));
  status.jobs[1].changed = 990;
  MonitoredRank& rank = status.heard.emplace_back();
  rank.beat.set_host("node1");
  rank.beat.set_pid(17);
  rank.beat.set_rank(0);
  rank.beat.set_job("distill");
  rank.beat.set_step(1);
  rank.beat.set_phase("forward");
  rank.beat.set_phase_seconds(0.5);
  rank.beat.set_own_seconds(0.2);
  rank.beat.set_last_calls(
      "#16 all_gather data 8 bytes step 1: done\n#17 all_reduce data 4096 bytes step 1: waiting\n");
  rank.beat.set_waits_for("all_reduce data 4096 bytes step 1");
  rank.heard = heard;
  rank.got_on = heard - 1;
  return status;
}

}  // namespace halo::launch
