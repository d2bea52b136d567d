#include "parallel/pipeline_schedule.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/base/error.h"
#include "parallel/pipeline_clock.h"

namespace halo::parallel {
namespace {

using Kind = PipelineAction::Kind;

void require_sizes(const PipelineShape& shape) {
  HALO_REQUIRE(shape.stages >= 1 && shape.chunks >= 1 && shape.micro_batches >= 1 &&
                   shape.teacher_credit >= 1,
               str("a pipeline of ", shape.stages, " stages with ", shape.chunks, " chunks, ",
                   shape.micro_batches, " micro-batches and ", shape.teacher_credit,
                   " of the teacher ahead"));
}

/// A stage's passes of one kind in their fixed order: groups of as many micro-batches as there are stages, and of each
/// group chunk after chunk, so that a micro-batch comes back to the first stage when that is free again.
std::vector<PipelineAction> in_order(const PipelineShape& shape, Kind kind) {
  std::vector<PipelineAction> order;
  for (int begin = 0; begin < shape.micro_batches; begin += shape.stages) {
    const int end = std::min(shape.micro_batches, begin + shape.stages);
    for (int i = 0; i < shape.chunks; ++i) {
      const int chunk = kind == Kind::kBackward ? shape.chunks - 1 - i : i;
      for (int micro_batch = begin; micro_batch < end; ++micro_batch)
        order.push_back({kind, micro_batch, chunk});
    }
  }
  return order;
}

/// One stage while the schedule is made. Of the student's passes some forward ones come first, then one forward, one
/// backward, then what is left; the teacher's come whenever the next of those cannot begin.
class Stage {
 public:
  Stage(const PipelineShape& shape, int stage)
      : stage_(stage),
        credit_(shape.teacher_credit * shape.chunks),
        forward_{in_order(shape, Kind::kForward)} {
    if (shape.backward) backward_.order = in_order(shape, Kind::kBackward);
    if (shape.teacher) teacher_.order = in_order(shape, Kind::kTeacherForward);
    const int ahead = shape.stages - stage - 1;
    warm_up_ = shape.chunks == 1 ? ahead : 2 * ahead + (shape.chunks - 1) * shape.stages;
  }

  [[nodiscard]] double free_at() const { return free_at_; }
  [[nodiscard]] const std::vector<PipelineAction>& list() const { return list_; }
  [[nodiscard]] bool done() const { return forward_.done() && backward_.done() && teacher_.done(); }

  /// What could begin by `time`, or when something could. Out of turn only what waits for nothing else.
  struct Choice {
    std::optional<PipelineAction> action;
    double next = PipelineClock::kNever;
  };
  [[nodiscard]] Choice choose(const PipelineClock& clock, double time, bool out_of_turn) const {
    Choice choice;
    const auto offer = [&](const Queue& queue, bool allowed) {
      if (choice.action || queue.done() || !allowed) return;
      const double ready = clock.ready(stage_, queue.head());
      if (ready <= time)
        choice.action = queue.head();
      else
        choice.next = std::min(choice.next, ready);
    };
    const bool forward_is_next =
        !forward_.done() && (backward_.order.empty() || forward_.next <= backward_.next + warm_up_);
    offer(backward_, !forward_is_next || out_of_turn);
    offer(forward_, forward_is_next || out_of_turn);
    offer(teacher_, teacher_.next < forward_.next + credit_);
    return choice;
  }

  void take(const PipelineAction& action, double end) {
    list_.push_back(action);
    free_at_ = end;
    (action.kind == Kind::kTeacherForward ? teacher_
     : action.kind == Kind::kForward      ? forward_
                                          : backward_)
        .next += 1;
  }

 private:
  struct Queue {
    std::vector<PipelineAction> order;
    int next = 0;
    [[nodiscard]] bool done() const { return next == static_cast<int>(order.size()); }
    [[nodiscard]] const PipelineAction& head() const {
      return order[static_cast<std::size_t>(next)];
    }
  };
  int stage_;
  int credit_;
  int warm_up_;
  Queue forward_, backward_, teacher_;
  double free_at_ = 0;
  std::vector<PipelineAction> list_;
};

/// Lets every free stage begin what it can at `time`; returns when something can happen next.
double begin_all(const PipelineShape& shape, std::vector<Stage>& stages, PipelineClock& clock,
                 double time, bool out_of_turn) {
  double next = PipelineClock::kNever;
  for (int s = 0; s < shape.stages; ++s) {
    Stage& stage = stages[static_cast<std::size_t>(s)];
    if (stage.free_at() <= time) {
      const Stage::Choice choice = stage.choose(clock, time, out_of_turn);
      next = std::min(next, choice.next);
      if (!choice.action) continue;
      stage.take(*choice.action, time + clock.cost(s, *choice.action));
      clock.end(s, *choice.action, stage.free_at());
    }
    next = std::min(next, stage.free_at());
  }
  return next;
}

}  // namespace

std::string to_string(const PipelineAction& action) {
  constexpr std::array kLetters{'T', 'F', 'B'};
  return str(kLetters[static_cast<std::size_t>(action.kind)], action.micro_batch, '.',
             action.chunk);
}

std::vector<std::vector<PipelineAction>> pipeline_schedule(const PipelineShape& shape) {
  require_sizes(shape);
  PipelineClock clock(shape);
  std::vector<Stage> stages;
  for (int s = 0; s < shape.stages; ++s) stages.emplace_back(shape, s);
  double time = 0;
  while (!std::ranges::all_of(stages, &Stage::done)) {
    double next = begin_all(shape, stages, clock, time, /*out_of_turn=*/false);
    // Interleaved, with micro-batches that do not divide by the stages, turns alone can come to a halt.
    if (next == PipelineClock::kNever) next = begin_all(shape, stages, clock, time, true);
    HALO_REQUIRE(next != PipelineClock::kNever,
                 str("no schedule for ", shape.stages, " stages, ", shape.chunks, " chunks, ",
                     shape.micro_batches, " micro-batches"));
    time = next;
  }
  std::vector<std::vector<PipelineAction>> lists;
  for (const Stage& stage : stages) lists.push_back(stage.list());
  return lists;
}

}  // namespace halo::parallel
