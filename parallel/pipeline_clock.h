#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "parallel/pipeline_schedule.h"

namespace halo::parallel {

/// When each action of a step ended, and so when another may begin: what actions need from each other.
class PipelineClock {
 public:
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  explicit PipelineClock(const PipelineShape& shape, const PipelineCosts* costs = nullptr)
      : shape_(shape),
        costs_(costs),
        ended_(static_cast<std::size_t>(3 * shape.layer_chunks() * shape.micro_batches), kNever) {}

  [[nodiscard]] double cost(int stage, const PipelineAction& action) const {
    using Kind = PipelineAction::Kind;
    const auto chunk = static_cast<std::size_t>(action.chunk * shape_.stages + stage);
    switch (action.kind) {
      case Kind::kTeacherForward:
        return costs_ == nullptr ? shape_.teacher_cost : costs_->teacher[chunk];
      case Kind::kForward:
        return costs_ == nullptr ? shape_.forward_cost : costs_->forward[chunk];
      case Kind::kBackward:
        return costs_ == nullptr ? shape_.backward_cost : costs_->backward[chunk];
    }
    throw Error("no such kind of action");
  }
  void end(int stage, const PipelineAction& action, double time) {
    ended_[index(action.kind, action.chunk * shape_.stages + stage, action.micro_batch)] = time;
  }
  /// When all that the action needs has ended; kNever while something has not begun.
  [[nodiscard]] double ready(int stage, const PipelineAction& action) const {
    using Kind = PipelineAction::Kind;
    const int chunk = action.chunk * shape_.stages + stage, last = shape_.layer_chunks() - 1;
    const auto when = [&](Kind kind, int c) { return ended_[index(kind, c, action.micro_batch)]; };
    if (action.kind == Kind::kBackward) {
      const double own = when(Kind::kForward, chunk);
      return chunk == last ? own : std::max(own, when(Kind::kBackward, chunk + 1));
    }
    const double input = chunk == 0 ? 0.0 : when(action.kind, chunk - 1);
    if (action.kind == Kind::kTeacherForward || !shape_.teacher) return input;
    return std::max(input, when(Kind::kTeacherForward, chunk));
  }

 private:
  [[nodiscard]] std::size_t index(PipelineAction::Kind kind, int chunk, int micro_batch) const {
    const int row = static_cast<int>(kind) * shape_.layer_chunks() + chunk;
    return static_cast<std::size_t>(row * shape_.micro_batches + micro_batch);
  }
  PipelineShape shape_;
  const PipelineCosts* costs_;  // null: the shape's
  std::vector<double> ended_;
};

}  // namespace halo::parallel
