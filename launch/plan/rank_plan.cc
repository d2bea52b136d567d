#include "launch/plan/rank_plan.h"

#include <algorithm>
#include <atomic>

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

data::BatchPlan batch_plan(const proto::Train& train, const parallel::DeviceMesh& mesh) {
  data::BatchPlan plan;
  plan.sequences = train.batch().sequences();
  plan.data_ranks = mesh.degree(Axis::kData);
  plan.data_rank = mesh.coordinate(Axis::kData);
  plan.micro_sequences = micro_sequences(train.batch(), plan.data_ranks);
  plan.length = train.data().sequence_length();
  return plan;
}

/// The first `most` micro-batches of a step, or all; they have no tokens.
std::vector<data::MicroBatch> micro_batches(const data::BatchPlan& plan, int most) {
  const int all = plan.micro_batches();
  std::vector<data::MicroBatch> batches;
  for (int i = 0; i < (most > 0 ? std::min(most, all) : all); ++i) {
    data::MicroBatch batch;
    batch.index = i;
    batch.T = plan.length;
    batch.B = plan.lanes(i);
    batches.push_back(std::move(batch));
  }
  return batches;
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
  parallel::PipelineCosts costs;
  for (int chunk = 0; chunk < stage.chunks(); ++chunk) {
    const model::LayerRange range = prepared.parts->ranges()[static_cast<std::size_t>(chunk)];
    const bool first = range.begin == 0, last = range.end == prepared.config.num_hidden_layers;
    Tensor x = given(first);
    costs.teacher.push_back(timed([&] { stage.teacher_forward(batch, chunk, x); }));
    x = given(first);
    costs.forward.push_back(timed([&] { stage.forward(batch, chunk, x, 1.0); }));
    Tensor d = given(last);
    costs.backward.push_back(timed([&] { stage.backward(batch, chunk, d); }));
  }
  return costs;
}

}  // namespace

RankPlan plan_rank(const Config& config, const proto::Job& job, int rank,
                   const parallel::Layout& layout, const proto::Machine& machine,
                   const RankPlanOptions& options) {
  const proto::Train& train = job.train();
  const Architectures architectures(config);
  const bool taught = train.stage() == proto::ALIGN || train.stage() == proto::DISTILL;
  const model::ModelConfig teacher =
      taught ? architectures.of(train.teacher()) : model::ModelConfig();

  RankClock clock(machine, layout);
  Stream stream([&clock](const KernelWork& work) { clock.compute(work); });
  comm::MetaCommunicator world("world", rank, layout.ranks(), clock);
  const parallel::DeviceMesh mesh(world, layout);
  const std::atomic<bool> stop = false;
  const JobContext context{config, job, 0, mesh, stream, stop};
  PreparedStage prepared =
      assemble_stage(context, architectures.student(train), taught ? &teacher : nullptr);

  RankPlan plan;
  plan.weights = static_cast<double>(prepared.parameters->flat_weights().bytes());
  plan.gradients = static_cast<double>(prepared.parameters->flat_gradients().bytes());
  if (taught)
    plan.teacher = static_cast<double>(prepared.teacher_parameters->flat_weights().bytes());
  const std::size_t before = stream.allocator()->bytes_in_use();
  const train::TrainerOptions training = trainer_options(job);
  train::Trainer trainer(*prepared.stage, mesh, training, stream);
  plan.optimizer = static_cast<double>(stream.allocator()->bytes_in_use() - before);

  const data::BatchPlan step = batch_plan(train, mesh);
  const std::vector<data::MicroBatch> batches = micro_batches(step, options.most_micro_batches);
  plan.pipeline.stages = layout.pipeline;
  plan.pipeline.chunks = prepared.stage->chunks();
  plan.pipeline.micro_batches = step.micro_batches();
  plan.pipeline.teacher = prepared.stage->actions().teacher_forward;
  plan.pipeline.backward = prepared.stage->actions().backward;
  plan.chunks = time_chunks(prepared, batches.front(), clock, stream);
  stream.allocator()->reset_peak();
  clock.restart();
  clock.keeps_calls = options.keep_calls;
  trainer.step(0, batches, false);
  plan.peak = static_cast<double>(stream.allocator()->peak_bytes());
  plan.traffic = clock.traffic();
  plan.calls = clock.calls();
  if (!training.overlap) trainer.optimizer().zero_gradients();  // all are still to be summed
  const double begin = clock.now();
  trainer.optimizer().reduce_gradients();
  trainer.optimizer().update(1.0, 1.0);
  if (!training.overlap) trainer.optimizer().wait_for_weights();
  plan.update = clock.now() - begin;
  return plan;
}

}  // namespace halo::launch
