#include "core/train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/progress_point.h"

namespace halo::train {

namespace {

/// The tokens of a step on the device, for a scope.
class HeldTokens {
 public:
  HeldTokens(Stage& stage, std::span<const MicroBatch> batches) : stage_(stage) {
    stage.hold(batches);
  }
  HeldTokens(const HeldTokens&) = delete;
  HeldTokens& operator=(const HeldTokens&) = delete;
  ~HeldTokens() { stage_.let_go(); }

 private:
  Stage& stage_;
};

}  // namespace

Trainer::Trainer(Stage& stage, const parallel::DeviceMesh& mesh, const TrainerOptions& options,
                 Stream& stream)
    : stage_(stage),
      mesh_(mesh),
      options_(options),
      optimizer_(stage.trained(), mesh, options.adamw, stream),
      links_(mesh.comm(parallel::Axis::kPipeline)),
      stream_(stream),
      sums_(Tensor::zeros(stream, {2}, DType::kFloat64)) {
  hooks_.before_forward = [this](int layer) {
    pass_point({"forward"});
    optimizer_.wait_for_layer(layer);
  };
  hooks_.after_backward = [this](int layer) {
    pass_point({"backward"});
    if (completes_gradients_ && options_.overlap) optimizer_.layer_done(layer);
  };
  stage.set_hooks(&hooks_);
  if (!may_record()) return;
  options_.overlap = false;  // there is nothing to overlap with
  recorded_.emplace(stream);
}

/// A rank alone, or ranks that only meet between passes.
bool Trainer::may_record() const {
  const int ranks = mesh_.world().size();
  return options_.record_passes && stream_.device() == Device::kCuda &&
         (ranks == 1 || (ranks == mesh_.comm(parallel::Axis::kData).size() && !options_.overlap));
}

/// Every rank but those of the data axis sees the same tokens. On the meta device there are none, and one is as good.
std::int64_t Trainer::global_tokens(std::span<const MicroBatch> batches) {
  std::int64_t tokens = 0;
  const bool meta = stream_.device() == Device::kMeta;
  if (meta) tokens = 1;
  for (const MicroBatch& batch : batches) tokens += meta ? 0 : stage_.counted_tokens(batch);
  mesh_.comm(parallel::Axis::kData).all_reduce(view(&tokens, {1}), comm::ReduceOp::kSum).wait();
  return tokens;
}

std::array<double, 2> Trainer::read_sums() const {
  std::array<double, 2> sums{};
  if (stream_.device() != Device::kMeta) copy(view(sums.data(), {2}), sums_, stream_);
  return sums;
}

void Trainer::act(const parallel::PipelineAction& action, const MicroBatch& batch, Pass pass,
                  double gradient_scale) {
  using Kind = parallel::PipelineAction::Kind;
  const int layer_chunk = action.chunk * links_.stages() + links_.stage();
  const int last = stage_.chunks() * links_.stages() - 1;
  const bool backward = action.kind == Kind::kBackward;
  const bool receives = layer_chunk != (backward ? last : 0);
  const bool sends = layer_chunk != (backward ? 0 : last);
  Tensor x;
  if (receives)
    x = links_.receive(action.kind, stage_.activation_shape(batch), stage_.trained().dtype(),
                       stream_);
  {
    const TracedWork traced(trace_, to_string(action));
    work_on(action, batch, x, pass, gradient_scale);
  }
  if (sends) links_.send(action.kind, std::move(x), pace_);
}

void Trainer::work_on(const parallel::PipelineAction& action, const MicroBatch& batch, Tensor& x,
                      Pass pass, double gradient_scale) {
  using Kind = parallel::PipelineAction::Kind;
  if (action.kind == Kind::kTeacherForward) {
    stage_.teacher_forward(batch, action.chunk, x);
  } else if (action.kind == Kind::kBackward) {
    stage_.backward(batch, action.chunk, x);
  } else if (pass == Pass::kTraining) {
    stage_.forward(batch, action.chunk, x, gradient_scale, loss_sum());
  } else {
    stage_.validation_forward(batch, action.chunk, x, loss_sum());
  }
}

void Trainer::run(std::span<const MicroBatch> batches, Pass pass, double gradient_scale) {
  parallel::PipelineShape shape;
  shape.stages = links_.stages();
  shape.chunks = stage_.chunks();
  shape.micro_batches = static_cast<int>(batches.size());
  shape.teacher = stage_.actions().teacher_forward;
  shape.backward = stage_.actions().backward && pass == Pass::kTraining;
  const bool forwards_alone = !shape.teacher && !shape.backward;  // nothing else holds a stage back
  pace_ = forwards_alone ? parallel::PipelineLinks::Pace::kOneAtATime
                         : parallel::PipelineLinks::Pace::kNeverWaits;
  const auto lists = parallel::pipeline_schedule(shape);
  const auto& list = lists[static_cast<std::size_t>(links_.stage())];
  const auto batch_of = [&](const parallel::PipelineAction& action) -> const MicroBatch& {
    return batches[static_cast<std::size_t>(action.micro_batch)];
  };
  // Per chunk, the last action that adds to gradients.
  using Kind = parallel::PipelineAction::Kind;
  const Kind adding = stage_.actions().backward ? Kind::kBackward : Kind::kForward;
  std::vector<std::size_t> last(static_cast<std::size_t>(shape.chunks), list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].kind == adding && batch_of(list[i]).B > 0)
      last[static_cast<std::size_t>(list[i].chunk)] = i;
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    completes_gradients_ =
        pass == Pass::kTraining && last[static_cast<std::size_t>(list[i].chunk)] == i;
    if (batch_of(list[i]).B > 0) act(list[i], batch_of(list[i]), pass, gradient_scale);
  }
  completes_gradients_ = false;
  links_.finish();
}

void Trainer::training_passes(std::span<const MicroBatch> batches, double gradient_scale) {
  const HeldTokens held(stage_, batches);
  optimizer_.zero_gradients();
  if (!recorded_ || (trace_ != nullptr && trace_->recording()))
    return run(batches, Pass::kTraining, gradient_scale);
  PassKey key{gradient_scale, {}};
  for (const MicroBatch& batch : batches)
    key.batches.push_back({batch.T, batch.B, batch.document_start.empty() ? 0 : 1});
  recorded_->run(key, [&] {
    optimizer_.zero_gradients();
    run(batches, Pass::kTraining, gradient_scale);
    stage_.trained().settle_gradients(stream_);
  });
  stage_.trained().mark_gradients_settled();
}

StepStats Trainer::compute(std::int64_t step, std::span<const MicroBatch> batches, bool stop) {
  StepStats stats;
  stats.tokens = global_tokens(batches);
  stats.lr = lr_at(step, options_.schedule);
  HALO_REQUIRE(stats.tokens > 0, str("step ", step, " has no token that counts in the loss"));
  fill_zero(sums_, stream_);
  training_passes(batches, stage_.token_scale() / static_cast<double>(stats.tokens));
  {
    const TracedWork traced(trace_, "reduce gradients");
    optimizer_.reduce_gradients();
  }
  if (on_gradients) on_gradients(step);

  optimizer_.add_sum_of_squares(squares_sum());
  const auto [sum, squares] = read_sums();
  own_loss_sum_ = sum;
  const std::array<double, 2> own = riders ? riders() : std::array<double, 2>{};
  std::array<double, 5> totals{sum, squares, stop ? 1.0 : 0.0, own[0], own[1]};
  mesh_.world().all_reduce(view(totals.data(), {5}), comm::ReduceOp::kSum).wait();
  stats.loss = totals[0] * stage_.token_scale() / static_cast<double>(stats.tokens);
  stats.grad_norm = std::sqrt(totals[1]);
  stats.stop = totals[2] > 0;
  stats.riders = {totals[3], totals[4]};
  return stats;
}

void Trainer::update(const StepStats& stats) {
  const double clip =
      options_.grad_clip > 0 ? std::min(1.0, options_.grad_clip / (stats.grad_norm + 1e-6)) : 1.0;
  pass_point({"optimizer"});
  const TracedWork traced(trace_, "update");
  optimizer_.update(stats.lr, clip);
  if (!options_.overlap) optimizer_.wait_for_weights();
}

StepStats Trainer::step(std::int64_t step, std::span<const MicroBatch> batches, bool stop) {
  const StepStats stats = compute(step, batches, stop);
  HALO_REQUIRE(std::isfinite(stats.loss) && std::isfinite(stats.grad_norm),
               str("step ", step, ": loss ", stats.loss, ", gradient norm ", stats.grad_norm,
                   "; the weights are unchanged. Lower the learning rate, or look at the data"));
  update(stats);
  return stats;
}

std::vector<RankPart> Trainer::rank_parts() const {
  comm::Communicator& world = mesh_.world();
  const auto ranks = static_cast<std::size_t>(world.size());
  std::array own{own_loss_sum_, static_cast<double>(optimizer_.nonfinite_gradients())};
  std::vector<double> all(2 * ranks);
  const std::vector<std::int64_t> counts(ranks, 2);
  world.all_gather(view(all.data(), {2 * world.size()}), view(own.data(), {2}), counts).wait();
  std::vector<RankPart> parts;
  for (std::size_t i = 0; i < all.size(); i += 2)
    parts.push_back({all[i], static_cast<std::int64_t>(all[i + 1])});
  return parts;
}

double Trainer::validation_loss(std::span<const MicroBatch> batches) {
  const std::int64_t tokens = global_tokens(batches);
  fill_zero(sums_, stream_);
  run(batches, Pass::kValidation, 0.0);
  double sum = read_sums()[0];
  mesh_.world().all_reduce(view(&sum, {1}), comm::ReduceOp::kSum).wait();
  return sum * stage_.token_scale() / static_cast<double>(tokens);
}

}  // namespace halo::train
