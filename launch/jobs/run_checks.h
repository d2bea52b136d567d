#pragma once
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/jobs/architectures.h"

namespace halo::launch {

// What can be known to be wrong before the first job begins, so that no cluster computes for hours towards an error.
// Each throws InputError that names the job, the file or field, and the reason.

/// Whether a job has done all of its work in an earlier run of the output. A report job never has.
[[nodiscard]] bool has_ended(const Config& config, const proto::Job& job);

/// This build and version can run the job.
void require_this_build(const Config& config, const proto::Job& job);
/// Files and models that people give are there and are what they should be; what jobs of this config make is left out.
/// `architectures` are the config's, for all of its jobs.
void require_inputs(const Config& config, const Architectures& architectures,
                    const proto::Job& job);
/// The models that the job needs can be made and cut: layers to keep, heads that divide, mixers of as many layers, no more
/// parts than layers and heads.
void require_architecture(const Config& config, const proto::Job& job);
/// No export job writes over a model that it, or a job before it, reads. `order` is job_order's.
void require_outputs_apart(const Config& config, const std::vector<int>& order);
/// The job began with a config that this one may go on with.
void refuse_changes(const Config& resolved, int job);

/// The complaints of the checks above, without throwing: for a dry run, which may be made on
/// another machine than the run.
[[nodiscard]] std::vector<std::string> run_complaints(const Config& resolved);

}  // namespace halo::launch
