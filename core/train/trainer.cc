#include "core/train/trainer.h"

#include <array>
#include <cmath>

namespace halo::train {

Trainer::Trainer(Stage& stage, const parallel::DeviceMesh& mesh, const TrainerOptions& options,
                 Stream& stream)
    : stage_(stage),
      mesh_(mesh),
      options_(options),
      optimizer_(stage.trained(), mesh.gradient_comm(), options.adamw, stream) {}

std::int64_t Trainer::global_tokens(std::span<const MicroBatch> batches) {
  std::int64_t tokens = 0;
  for (const MicroBatch& batch : batches) tokens += stage_.counted_tokens(batch);
  mesh_.gradient_comm().all_reduce(view(&tokens, {1}), comm::ReduceOp::kSum).wait();
  return tokens;
}

double Trainer::run(std::span<const MicroBatch> batches, std::int64_t tokens) {
  const double gradient_scale = stage_.token_scale() / static_cast<double>(tokens);
  double sum = 0.0;
  for (const Action& action : step_actions(static_cast<int>(batches.size()), stage_.actions())) {
    const MicroBatch& batch = batches[static_cast<std::size_t>(action.micro_batch)];
    if (batch.B == 0) continue;
    switch (action.kind) {
      case Action::Kind::kTeacherForward:
        stage_.teacher_forward(batch);
        break;
      case Action::Kind::kForward:
        sum += stage_.forward(batch, gradient_scale);
        break;
      case Action::Kind::kBackward:
        stage_.backward(batch);
        break;
    }
  }
  return sum;
}

StepStats Trainer::step(std::int64_t step, std::span<const MicroBatch> batches, bool stop) {
  StepStats stats;
  stats.tokens = global_tokens(batches);
  stats.lr = lr_at(step, options_.schedule);
  HALO_REQUIRE(stats.tokens > 0, str("step ", step, " has no token that counts in the loss"));
  optimizer_.zero_gradients();
  const double sum = run(batches, stats.tokens);
  optimizer_.reduce_gradients();
  if (on_gradients) on_gradients(step);

  const double squares = optimizer_.sum_of_squares();
  const std::int64_t nonfinite = std::isfinite(squares) ? 0 : optimizer_.nonfinite_gradients();
  std::array<double, 4> totals{sum, squares, static_cast<double>(nonfinite), stop ? 1.0 : 0.0};
  mesh_.gradient_comm().all_reduce(view(totals.data(), {4}), comm::ReduceOp::kSum).wait();
  stats.loss = totals[0] * stage_.token_scale() / static_cast<double>(stats.tokens);
  stats.grad_norm = std::sqrt(totals[1]);
  stats.stop = totals[3] > 0;
  HALO_REQUIRE(std::isfinite(stats.loss) && totals[2] == 0 && std::isfinite(stats.grad_norm),
               str("step ", step, ": loss ", stats.loss, ", ", totals[2],
                   " gradients are not finite; the weights are unchanged. Lower the learning rate, "
                   "or look at the data"));
  const double clip =
      options_.grad_clip > 0 ? std::min(1.0, options_.grad_clip / (stats.grad_norm + 1e-6)) : 1.0;
  optimizer_.update(stats.lr, clip);
  return stats;
}

double Trainer::validation_loss(std::span<const MicroBatch> batches) {
  LossSum total;
  for (const MicroBatch& batch : batches) {
    if (batch.B == 0) continue;
    const LossSum part = stage_.validation_loss(batch);
    total.sum += part.sum;
    total.tokens += part.tokens;
  }
  std::array<double, 2> sums{total.sum, static_cast<double>(total.tokens)};
  mesh_.gradient_comm().all_reduce(view(sums.data(), {2}), comm::ReduceOp::kSum).wait();
  return sums[0] * stage_.token_scale() / sums[1];
}

}  // namespace halo::train
