#pragma once
#include "launch/plan/rank_plan.h"

namespace halo::launch {

/// A layout of a training job, with what its slowest and its fullest rank take.
struct LayoutPlan {
  parallel::Layout layout;
  int chunks = 1;
  std::int64_t micro_sequences = 0;
  bool recompute = false;
  double seconds = 0;                                 // of a step
  double bubble = 0;                                  // share of the stages' time, 0 to 1
  RankPlan fullest;                                   // the rank with the highest peak
  std::map<std::string, train::AxisTraffic> traffic;  // the most of any stage
  [[nodiscard]] bool fits(const proto::Machine& machine) const;
};

/// What is run through of a step: on every stage as many micro-batches as it can ever hold; so on the two outermost
/// stages at each end, which take the most memory, and one on the others; or one on all, for times alone.
enum class Effort : std::uint8_t { kAllStages, kOuterStages, kTimes };

/// Plans the layout of `job` on `ranks` ranks: one rank a pipeline stage stands for all of it. Throws InputError for
/// layouts that the job cannot have.
[[nodiscard]] LayoutPlan plan_layout(const Config& config, const proto::Job& job, int ranks,
                                     const proto::Machine& machine,
                                     Effort effort = Effort::kAllStages);

/// The best layouts that the job can have on `ranks` ranks, `most` >= 1 of them: those that fit into memory, fastest first,
/// then others. Where the job does not say, micro-batches are chosen too, and recomputation where memory wants it. Throws
/// InputError when there is none.
[[nodiscard]] std::vector<LayoutPlan> plan_layouts(const Config& config, const proto::Job& job,
                                                   int ranks, const proto::Machine& machine,
                                                   std::size_t most);

/// A table of them for people.
[[nodiscard]] std::string to_table(const std::vector<LayoutPlan>& plans,
                                   const proto::Machine& machine);

}  // namespace halo::launch
