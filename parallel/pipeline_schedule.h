#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace halo::parallel {

/// What one stage of a pipeline does at once with one micro-batch, on one of its chunks of layers.
struct PipelineAction {
  enum class Kind : std::uint8_t { kTeacherForward, kForward, kBackward };
  Kind kind = Kind::kForward;
  int micro_batch = 0;
  int chunk = 0;  // of this stage; layer chunk chunk * stages + stage of the model
  [[nodiscard]] bool operator==(const PipelineAction&) const = default;
};
[[nodiscard]] std::string to_string(const PipelineAction& action);  // "F3.1", "T0.0", "B2.0"

/// A pipeline's size and what a step of its stage of the method consists of.
struct PipelineShape {
  int stages = 1;
  int chunks = 1;  // of layers a stage holds: above 1 the schedule is interleaved
  int micro_batches = 1;
  bool teacher = false;  // a teacher's forward pass comes before each forward pass
  bool backward = true;  // a backward pass follows each forward pass
  int teacher_credit =
      4;  // micro-batches that a stage's teacher may be ahead of its student, at least 1
  double teacher_cost = 1;  // of any chunk, in any unit: what the order is made for
  double forward_cost = 1;
  double backward_cost = 2;
  [[nodiscard]] int layer_chunks() const { return stages * chunks; }
};

/// The order of each stage's actions in one step: 1F1B, or interleaved 1F1B with several chunks a stage, with the
/// teacher run ahead into what would be bubbles. Every stage runs through its list, waits for what an action needs from
/// a neighbour, and never waits to send; schedules of forward passes alone go on, too, where a stage sends a message only once
/// the one before was taken.
///
/// A pure function. The student's passes have a fixed order; where the teacher's go among them is found by running the
/// pipeline on a clock. Throws Error for sizes below 1.
/// Source   Narayanan et al. 2021 (Megatron-LM, interleaved 1F1B).
[[nodiscard]] std::vector<std::vector<PipelineAction>> pipeline_schedule(
    const PipelineShape& shape);

/// What a schedule comes to on a clock with the shape's costs and free communication.
struct PipelineReport {
  double time = 0;           // of the whole step
  std::vector<double> busy;  // of each stage
  std::vector<int>
      peak_activations;  // chunks whose forward pass waits for its backward pass, at most, a stage
  std::vector<int>
      peak_teacher;  // chunks that the teacher is ahead of the student, at most, a stage
  [[nodiscard]] double bubble_fraction() const;  // of the time of all stages
};
/// What each layer chunk's actions really take.
struct PipelineCosts {
  std::vector<double> teacher, forward, backward;  // of each layer chunk
};

/// Runs any lists symbolically, with the shape's costs or others. Throws Error that names the place when one can never go on, an action comes twice or is
/// missing, or messages of one kind between two stages are not received in the order they were sent.
[[nodiscard]] PipelineReport check_pipeline(const PipelineShape& shape,
                                            const std::vector<std::vector<PipelineAction>>& lists,
                                            const PipelineCosts* costs = nullptr);

}  // namespace halo::parallel
