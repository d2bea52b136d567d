#pragma once
#include <ostream>
#include <string>

#include "launch/config.h"
#include "parallel/comm/communicator.h"

namespace halo::launch {

struct JobBenchOptions {
  int steps = 8;    // measured, of each job
  std::string job;  // this one alone; empty: all
  std::string
      machine;  // that plans are made for: a preset or a file; empty: this one, measured before
};

/// Measures steps of a config's training jobs on all ranks, with random weights and tokens in place of what they would read:
/// the models' config.json files are all it needs, and nothing is written but the user's table of a GPU's products. Rank 0
/// writes to `out` what was measured beside what is planned. Collective. Throws InputError for configs without a training
/// job and layouts that a job cannot have on so many ranks.
void bench_jobs(const Config& config, comm::Communicator& world, const JobBenchOptions& options,
                std::ostream& out);

}  // namespace halo::launch
