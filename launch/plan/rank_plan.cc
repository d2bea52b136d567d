#include "launch/plan/rank_plan.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "launch/jobs/batches.h"
#include "launch/jobs/prepared_stage.h"
#include "launch/jobs/trainer_options.h"

namespace halo::launch {
namespace {

using parallel::Axis;

/// A rank's time: kernels follow one another, calls of one communicator do, and waiting lets the clock go on.
class RankClock final : public comm::CallClock {
 public:
  RankClock(const proto::Machine& machine, const parallel::Layout& layout)
      : machine_(machine), layout_(layout) {}

  void compute(const KernelWork& work) { now_ += seconds_of(machine_, work); }

  double begin(const comm::Call& call) override {
    if (call.ranks == 1) return now_;
    const double seconds = seconds_of(machine_, call, stride_of(call.communicator));
    train::AxisTraffic& traffic = traffic_[call.communicator];
    traffic.calls += 1;
    traffic.bytes += comm::bytes_sent(call);
    traffic.seconds += seconds;
    if (keeps_calls) calls_.push_back(call);
    double& free = free_[call.communicator];
    free = std::max(free, now_) + seconds;
    return free;
  }
  [[nodiscard]] double now() const override { return now_; }
  void wait_until(double time) override { now_ = std::max(now_, time); }

  /// Forgets what has been counted, not the time.
  void restart() {
    traffic_.clear();
    calls_.clear();
  }
  [[nodiscard]] const std::map<std::string, train::AxisTraffic>& traffic() const {
    return traffic_;
  }
  [[nodiscard]] const std::vector<comm::Call>& calls() const { return calls_; }
  bool keeps_calls = false;

 private:
  [[nodiscard]] int stride_of(const std::string& communicator) const {
    if (communicator == axis_name(Axis::kTensor)) return 1;
    if (communicator == axis_name(Axis::kContext) || communicator == "gradient")
      return layout_.tensor;
    if (communicator == axis_name(Axis::kData)) return layout_.tensor * layout_.context;
    if (communicator == "world") return 1;
    return layout_.tensor * layout_.context * layout_.data;  // pipeline and its kinds of passes
  }

  const proto::Machine& machine_;
  parallel::Layout layout_;
  double now_ = 0;
  std::map<std::string, double> free_;
  std::map<std::string, train::AxisTraffic> traffic_;
  std::vector<comm::Call> calls_;
};

/// Whether checkpoints are written from a copy in host memory: while training goes on, and from a GPU always.
bool copies_state(const Config& config, const proto::Train& train) {
  if (config.device() == proto::CUDA) return true;
  const std::int64_t every = train.checkpoint().every_steps();
  return train.checkpoint().asynchronous() && every > 0 && every < train.steps();
}

/// Of what a rank writes to a checkpoint.
double state_bytes(const train::ShardedAdamW& optimizer) {
  double bytes = 0;
  for (const auto& state : optimizer.counted()) {
    for (const TensorView* values : {&state.master, &state.m, &state.v})
      bytes += static_cast<double>(values->bytes());
  }
  return bytes;
}

bool is_between_stages(const std::string& communicator) {
  return communicator.starts_with(axis_name(Axis::kPipeline));
}

/// One micro-batch through every chunk of this stage, by itself.
parallel::PipelineCosts time_chunks(const PreparedStage& prepared, const data::MicroBatch& batch,
                                    RankClock& clock, Stream& stream) {
  train::Stage& stage = *prepared.stage;
  const auto chunks = static_cast<std::size_t>(stage.chunks());
  if (batch.B == 0)
    return {std::vector(chunks, 0.0), std::vector(chunks, 0.0), std::vector(chunks, 0.0)};
  const auto given = [&](bool nothing) {
    return nothing ? Tensor()
                   : Tensor(stream, stage.activation_shape(batch), stage.trained().dtype());
  };
  const auto timed = [&clock](auto&& work) {
    const double begin = clock.now();
    work();
    return clock.now() - begin;
  };
  const Tensor loss = Tensor::zeros(stream, {1}, DType::kFloat64);
  parallel::PipelineCosts costs;
  for (int chunk = 0; chunk < stage.chunks(); ++chunk) {
    const model::LayerRange range = prepared.parts->ranges()[static_cast<std::size_t>(chunk)];
    const bool first = range.begin == 0, last = range.end == prepared.config.num_hidden_layers;
    Tensor x = given(first);
    costs.teacher.push_back(timed([&] { stage.teacher_forward(batch, chunk, x); }));
    x = given(first);
    costs.forward.push_back(timed([&] { stage.forward(batch, chunk, x, 1.0, loss); }));
    Tensor d = given(last);
    costs.backward.push_back(timed([&] { stage.backward(batch, chunk, d); }));
  }
  return costs;
}

using Traffic = std::map<std::string, train::AxisTraffic>;

/// Makes of the traffic of a step with `run` micro-batches that of one with `all`.
void add_micro_batches(Traffic& traffic, const Traffic& a_micro_batch, double run, double all) {
  const auto add = [](train::AxisTraffic& to, const train::AxisTraffic& from, double times) {
    to.calls += std::llround(times * static_cast<double>(from.calls));
    to.bytes += times * from.bytes;
    to.seconds += times * from.seconds;
  };
  for (auto& [name, t] : traffic) {
    if (is_between_stages(name)) {
      add(t, train::AxisTraffic(t), all / run - 1);
    } else if (const auto one = a_micro_batch.find(name); one != a_micro_batch.end()) {
      add(t, one->second, all - run);
    }
  }
}

/// A second step of one micro-batch, which begins while the first one's weights still arrive: what it takes beside its
/// passes and its messages between stages.
double time_update(const parallel::PipelineCosts& chunks, train::Trainer& trainer,
                   std::span<const data::MicroBatch> batch, RankClock& clock) {
  clock.restart();
  const double begin = clock.now();
  trainer.step(1, batch, false);
  double seconds = clock.now() - begin;
  for (const auto* costs : {&chunks.teacher, &chunks.forward, &chunks.backward})
    seconds -= std::accumulate(costs->begin(), costs->end(), 0.0);
  for (const auto& [name, t] : clock.traffic())
    if (is_between_stages(name)) seconds -= t.seconds;
  return std::max(seconds, 0.0);
}

}  // namespace

RankPlan plan_rank(const Config& config, const proto::Job& job, int rank,
                   const parallel::Layout& layout, const proto::Machine& machine,
                   const RankPlanOptions& options) {
  const proto::Train& train = job.train();
  const TrainedModels models(config, train);

  RankClock clock(machine, layout);
  const bool gpu = config.device() == proto::CUDA || job.precision() == proto::BF16;
  Stream stream([&clock](const KernelWork& work) { clock.compute(work); },
                gpu ? Device::kCuda : Device::kCpu);
  comm::MetaCommunicator world("world", rank, layout.ranks(), clock);
  const parallel::DeviceMesh mesh(world, layout);
  const JobContext context{config, job, 0, mesh, stream, [] { return false; }};
  PreparedStage prepared = assemble_stage(context, models.student, models.teacher_or_null());

  RankPlan plan;
  plan.weights = static_cast<double>(prepared.parameters->flat_weights().bytes());
  plan.gradients = static_cast<double>(prepared.parameters->flat_gradients().bytes());
  if (models.taught)
    plan.teacher = static_cast<double>(prepared.teacher_parameters->flat_weights().bytes());
  const std::size_t before = stream.allocator()->bytes_in_use();
  const train::TrainerOptions training = trainer_options(job);
  train::Trainer trainer(*prepared.stage, mesh, training, stream);
  plan.optimizer = static_cast<double>(stream.allocator()->bytes_in_use() - before);
  if (copies_state(config, train)) plan.snapshot = state_bytes(trainer.optimizer());

  const data::BatchPlan step = batch_plan(train, mesh);
  const std::vector<data::MicroBatch> batches = empty_batches(step, options.most_micro_batches);
  prepared.stage->hold(empty_batches(step));  // the tokens of all of them are there at once
  prepared.stage->let_go();
  plan.pipeline.stages = layout.pipeline;
  plan.pipeline.chunks = prepared.stage->chunks();
  plan.pipeline.micro_batches = step.micro_batches();
  plan.pipeline.teacher = prepared.stage->actions().teacher_forward;
  plan.pipeline.backward = prepared.stage->actions().backward;
  plan.chunks = time_chunks(prepared, batches.front(), clock, stream);
  const Traffic a_micro_batch = clock.traffic();
  stream.allocator()->reset_peak();
  clock.restart();
  clock.keeps_calls = options.keep_calls;
  trainer.step(0, batches, false);
  plan.peak = static_cast<double>(stream.allocator()->peak_bytes());
  plan.traffic = clock.traffic();
  plan.calls = clock.calls();
  add_micro_batches(plan.traffic, a_micro_batch, static_cast<double>(batches.size()),
                    static_cast<double>(step.micro_batches()));
  plan.update = time_update(plan.chunks, trainer, {batches.data(), 1}, clock);
  return plan;
}

std::string layers_of_rank(const Config& config, const proto::Job& job, int rank,
                           const parallel::Layout& layout) {
  const TrainedModels models(config, job.train());
  RankClock clock({}, layout);
  comm::MetaCommunicator world("world", rank, layout.ranks(), clock);
  const parallel::DeviceMesh mesh(world, layout);
  const ModelParts parts(
      mesh, job, models.student,
      layer_costs(models.teacher_or_null(), models.student, job.train().stage() == proto::ALIGN,
                  job.train().data().sequence_length()));
  std::string text;
  for (const model::LayerRange& range : parts.ranges()) {
    if (!text.empty()) text += '|';
    if (range.begin == 0) text += "embedding+";
    for (int layer = range.begin; layer < range.end; ++layer)
      text += models.student.mixer(layer) == model::MixerType::kLightning ? 'L' : 'A';
    if (range.end == models.student.num_hidden_layers) text += "+head";
  }
  return text;
}

}  // namespace halo::launch
