#include <algorithm>
#include <map>
#include <numeric>

#include "core/base/error.h"
#include "parallel/pipeline_clock.h"
#include "parallel/pipeline_schedule.h"

namespace halo::parallel {
namespace {

using Kind = PipelineAction::Kind;
using Lists = std::vector<std::vector<PipelineAction>>;

std::vector<Kind> kinds_of(const PipelineShape& shape) {
  std::vector<Kind> kinds{Kind::kForward};
  if (shape.teacher) kinds.push_back(Kind::kTeacherForward);
  if (shape.backward) kinds.push_back(Kind::kBackward);
  return kinds;
}

/// Each stage does everything once.
void require_complete(const PipelineShape& shape, const Lists& lists) {
  HALO_REQUIRE(std::ssize(lists) == shape.stages,
               str(lists.size(), " lists for ", shape.stages, " stages"));
  for (int s = 0; s < shape.stages; ++s) {
    std::map<Kind, std::vector<int>> times;  // by chunk and micro-batch
    for (const Kind kind : kinds_of(shape))
      times[kind].resize(static_cast<std::size_t>(shape.chunks * shape.micro_batches));
    for (const PipelineAction& action : lists[static_cast<std::size_t>(s)]) {
      const bool exists = times.contains(action.kind) && action.chunk >= 0 &&
                          action.chunk < shape.chunks && action.micro_batch >= 0 &&
                          action.micro_batch < shape.micro_batches;
      HALO_REQUIRE(exists, str("stage ", s, " does more than its step: ", to_string(action)));
      const int at = action.chunk * shape.micro_batches + action.micro_batch;
      ++times[action.kind][static_cast<std::size_t>(at)];
    }
    for (const auto& [kind, counts] : times) {
      const auto wrong = std::ranges::find_if(counts, [](int n) { return n != 1; });
      if (wrong == counts.end()) continue;
      const auto at = static_cast<int>(wrong - counts.begin());
      const PipelineAction action{kind, at % shape.micro_batches, at / shape.micro_batches};
      throw Error(str("stage ", s, " does ", to_string(action), ' ', *wrong, " times"));
    }
  }
}

/// What passes of one kind from one stage to another, as (micro-batch, layer chunk that receives it).
std::vector<std::pair<int, int>> messages(const PipelineShape& shape, const Lists& lists, Kind kind,
                                          int from, int to, bool as_received) {
  const int step = kind == Kind::kBackward ? -1 : 1;
  std::vector<std::pair<int, int>> found;
  const int stage = as_received ? to : from;
  for (const PipelineAction& action : lists[static_cast<std::size_t>(stage)]) {
    if (action.kind != kind) continue;
    const int chunk = action.chunk * shape.stages + stage;
    const int receiver = as_received ? chunk : chunk + step;
    const int sender = receiver - step;
    const bool exists =
        std::min(receiver, sender) >= 0 && std::max(receiver, sender) < shape.layer_chunks();
    if (exists && receiver % shape.stages == to && sender % shape.stages == from)
      found.emplace_back(action.micro_batch, receiver);
  }
  return found;
}

void require_message_order(const PipelineShape& shape, const Lists& lists) {
  if (shape.stages == 1) return;
  for (const Kind kind : kinds_of(shape)) {
    for (int from = 0; from < shape.stages; ++from) {
      const int step = kind == Kind::kBackward ? shape.stages - 1 : 1;
      const int to = (from + step) % shape.stages;
      const auto sent = messages(shape, lists, kind, from, to, false);
      const auto received = messages(shape, lists, kind, from, to, true);
      const auto [a, b] = std::ranges::mismatch(sent, received);
      HALO_REQUIRE(a == sent.end() && b == received.end(),
                   str("stage ", to, " receives message ", a - sent.begin(), " of stage ", from,
                       " in another order than it is sent in"));
    }
  }
}

}  // namespace

double PipelineReport::bubble_fraction() const {
  const double all = time * static_cast<double>(busy.size());
  return 1.0 - std::accumulate(busy.begin(), busy.end(), 0.0) / all;
}

PipelineReport check_pipeline(const PipelineShape& shape, const Lists& lists,
                              const PipelineCosts* costs) {
  require_complete(shape, lists);
  require_message_order(shape, lists);
  const auto stages = static_cast<std::size_t>(shape.stages);
  PipelineReport report;
  report.busy.assign(stages, 0.0);
  report.peak_activations.assign(stages, 0);
  report.peak_teacher.assign(stages, 0);
  PipelineClock clock(shape, costs);
  std::vector<std::size_t> next(stages, 0);
  std::vector<double> free_at(stages, 0.0);
  std::vector<int> waiting(stages, 0), ahead(stages, 0);
  bool moved = true;
  while (moved) {
    moved = false;
    for (std::size_t s = 0; s < stages; ++s) {
      for (; next[s] < lists[s].size(); ++next[s], moved = true) {
        const PipelineAction& action = lists[s][next[s]];
        const double ready = clock.ready(static_cast<int>(s), action);
        if (ready == PipelineClock::kNever) break;
        const double cost = clock.cost(static_cast<int>(s), action);
        free_at[s] = std::max(free_at[s], ready) + cost;
        report.busy[s] += cost;
        clock.end(static_cast<int>(s), action, free_at[s]);
        waiting[s] += action.kind == Kind::kForward ? 1 : action.kind == Kind::kBackward ? -1 : 0;
        ahead[s] += action.kind == Kind::kTeacherForward ? 1
                    : action.kind == Kind::kForward      ? -1
                                                         : 0;
        report.peak_activations[s] = std::max(report.peak_activations[s], waiting[s]);
        report.peak_teacher[s] = std::max(report.peak_teacher[s], ahead[s]);
      }
    }
  }
  for (std::size_t s = 0; s < stages; ++s) {
    HALO_REQUIRE(next[s] == lists[s].size(),
                 str("stage ", s, " waits for ever before ", to_string(lists[s][next[s]])));
  }
  report.time = *std::ranges::max_element(free_at);
  return report;
}

}  // namespace halo::parallel
