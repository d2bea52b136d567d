#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/train/trace.h"
#include "launch/config.h"
#include "launch/jobs/architectures.h"
#include "launch/plan/machine.h"
#include "parallel/device_mesh.h"
#include "parallel/pipeline_schedule.h"

namespace halo::launch {

/// What a step of a training job takes on one rank, in bytes and seconds.
struct RankPlan {
  double weights = 0, teacher = 0, gradients = 0, optimizer = 0;  // bytes for the whole run
  double peak = 0;                                                // of all together in a step
  double snapshot = 0;  // of host memory, for checkpoints written beside training or from a GPU
  parallel::PipelineCosts chunks;  // of a micro-batch, a value each of this stage's chunks
  double update =
      0;  // seconds of a step beside its passes: the optimizer, sums and gathers that no pass hides
  std::map<std::string, train::AxisTraffic>
      traffic;                       // of a step with all its micro-batches, by communicator
  std::vector<comm::Call> calls;     // of the step in their order, when they are kept
  parallel::PipelineShape pipeline;  // of the step, with all its micro-batches
};

struct RankPlanOptions {
  int most_micro_batches = 0;  // to run through for the peak, which later ones do not raise; 0: all
  bool keep_calls = false;
};

/// Runs a step of `job` on the meta device as `rank` of the layout sees it: the very code of training, without numbers.
/// Throws InputError for layouts that the job cannot have.
[[nodiscard]] RankPlan plan_rank(const Config& config, const proto::Job& job, int rank,
                                 const parallel::Layout& layout, const proto::Machine& machine,
                                 const RankPlanOptions& options = {});

/// What of the models a rank holds, as text: "LLA|LLLA+head" for chunks of lightning and softmax layers. Ranks with the same
/// text and tensor rank work alike.
[[nodiscard]] std::string layers_of_rank(const Config& config, const proto::Job& job, int rank,
                                         const parallel::Layout& layout);

}  // namespace halo::launch
