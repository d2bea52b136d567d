#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/jobs/job_folder.h"
#include "launch/metrics.h"
#include "launch/sweep/halving.h"

namespace halo::launch {

/// How a training job went, for the report: from its metrics.
struct JobSummary {
  std::string stage;
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  std::int64_t parameters = 0;  // trained
  double seconds = 0.0;         // of all its steps
  double loss = 0.0;            // mean over the last tenth of its steps, NaN when all were skipped
  std::int64_t skipped = 0;     // of its steps
};
/// What a training job had come to after `end` steps.
[[nodiscard]] Pause pause_of(std::vector<StepMetrics> steps, std::int64_t end);

/// Writes summary.json of a job that has ended; peak_bytes: the allocator's, of each rank; empty
/// when it is not known.
void write_job_summary(const JobFolder& folder, std::int64_t parameters,
                       const std::vector<std::int64_t>& peak_bytes, const proto::Train& train);
/// Throws InputError when the job has not ended.
[[nodiscard]] JobSummary read_job_summary(const JobFolder& folder);

}  // namespace halo::launch
