#pragma once
#include <array>
#include <functional>
#include <optional>
#include <span>

#include "core/train/optimizer.h"
#include "core/train/recorded_pass.h"
#include "core/train/schedule.h"
#include "core/train/stage.h"
#include "core/train/trace.h"
#include "parallel/device_mesh.h"
#include "parallel/pipeline_links.h"

namespace halo::train {

struct TrainerOptions {
  LrSchedule schedule;
  AdamWOptions adamw;
  double grad_clip = 1.0;  // largest global gradient norm; 0: none
  bool overlap =
      true;  // sums gradients during backward and gathers weights during the next forward pass
  bool record_passes = false;  // on a GPU, where nothing is communicated during a pass
};

struct StepStats {
  double loss = 0.0;       // the mean over the step's counted tokens, all ranks
  double grad_norm = 0.0;  // of the reduced gradient, before clipping
  double lr = 0.0;
  std::int64_t tokens = 0;         // counted, all ranks
  bool stop = false;               // some rank asked to stop
  std::array<double, 2> riders{};  // of Trainer::riders, summed over all ranks
};

/// What a rank gave to the numbers of a step.
struct RankPart {
  double loss_sum = 0.0;                 // of what it computed, undivided
  std::int64_t nonfinite_gradients = 0;  // of those that it owns, which are sums over ranks
};

/// Runs optimizer steps of a stage on all ranks of a mesh.
class Trainer {
 public:
  /// All must outlive the trainer; the stage's weights must be set before.
  Trainer(Stage& stage, const parallel::DeviceMesh& mesh, const TrainerOptions& options,
          Stream& stream);

  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  ~Trainer() { stage_.set_hooks(nullptr); }

  /// One step on this rank's micro-batches; collective. `stop` asks all ranks to end after this step.
  /// Throws Error naming the step when the loss or a gradient is not finite: the weights are then as before it.
  StepStats step(std::int64_t step, std::span<const MicroBatch> batches, bool stop);
  /// The step's numbers and gradients, from the same weights and micro-batches as often as it is called, the same bits each
  /// time; no weight changes. Numbers may be anything, and are the same on all ranks. Collective.
  [[nodiscard]] StepStats compute(std::int64_t step, std::span<const MicroBatch> batches,
                                  bool stop);
  /// Clips and applies the gradients of the last compute, whose numbers `stats` are. Collective.
  void update(const StepStats& stats);
  /// Of every rank in the last compute. Collective.
  [[nodiscard]] std::vector<RankPart> rank_parts() const;
  /// The mean loss over batches of all ranks, without gradients; collective.
  [[nodiscard]] double validation_loss(std::span<const MicroBatch> batches);

  [[nodiscard]] ShardedAdamW& optimizer() { return optimizer_; }
  /// Takes down when passes and updates begin and end; null: nobody does. Must outlive the steps.
  void set_trace(Trace* trace) { trace_ = trace; }
  /// Numbers of the job's own, asked for when the step's sums are taken: they ride along, which costs no call of their own.
  std::function<std::array<double, 2>()> riders;
  /// Called with the step after its gradients were reduced and before they are clipped.
  std::function<void(std::int64_t step)> on_gradients;

 private:
  enum class Pass : std::uint8_t { kTraining, kValidation };
  [[nodiscard]] bool may_record() const;
  /// Every micro-batch's passes that gradients are made of.
  void training_passes(std::span<const MicroBatch> batches, double gradient_scale);
  /// This rank's part of the pipeline; its share of the sum of the loss is the first of sums_.
  void run(std::span<const MicroBatch> batches, Pass pass, double gradient_scale);
  void act(const parallel::PipelineAction& action, const MicroBatch& batch, Pass pass,
           double gradient_scale);
  /// The action's own work on what was received; x becomes what is sent.
  void work_on(const parallel::PipelineAction& action, const MicroBatch& batch, Tensor& x,
               Pass pass, double gradient_scale);
  [[nodiscard]] TensorView loss_sum() const { return sums_.view().slice(0, 0, 1); }
  [[nodiscard]] TensorView squares_sum() const { return sums_.view().slice(0, 1, 2); }
  /// Once they are there: a GPU has been waited for. Zeros on the meta device.
  [[nodiscard]] std::array<double, 2> read_sums() const;
  [[nodiscard]] std::int64_t global_tokens(std::span<const MicroBatch> batches);

  Stage& stage_;
  const parallel::DeviceMesh& mesh_;
  TrainerOptions options_;
  ShardedAdamW optimizer_;
  std::optional<RecordedPass> recorded_;
  parallel::PipelineLinks links_;
  parallel::PipelineLinks::Pace pace_ = parallel::PipelineLinks::Pace::kNeverWaits;
  Stream& stream_;
  Tensor sums_;  // (2) float64 on the device: of the loss, and of the gradients' squares
  double own_loss_sum_ = 0.0;  // this rank's, in the last compute
  Trace* trace_ = nullptr;
  model::LayerHooks hooks_;
  bool completes_gradients_ =
      false;  // the pass under way is the last to add to its chunk's gradients
};

}  // namespace halo::train
