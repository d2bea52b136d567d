#include "launch/bench/job_bench.h"

#include <array>
#include <iomanip>
#include <optional>

#include "core/base/clock.h"
#include "core/base/text.h"
#include "core/train/trainer.h"
#include "launch/bench/median.h"
#include "launch/bench/random_weights.h"
#include "launch/jobs/architectures.h"
#include "launch/jobs/batches.h"
#include "launch/jobs/dry_run.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_runner.h"
#include "launch/jobs/matmul_tables.h"
#include "launch/jobs/prepared_stage.h"
#include "launch/jobs/run_checks.h"
#include "launch/jobs/trainer_options.h"
#include "launch/plan/layout_plan.h"
#include "launch/plan/measure_machine.h"

namespace halo::launch {
namespace {

constexpr int kWarmup = 4;  // algorithms are tried, memory settles, passes are recorded

/// Of a step, the medians over the measured ones.
struct Measurement {
  double seconds = 0;
  double waited = 0;      // of them, for other ranks, on the rank that waited longest
  double peak_bytes = 0;  // of the fullest rank
  double mfu = 0;
};

double largest(double value, comm::Communicator& world) {
  world.all_reduce(view(&value, {1}), comm::ReduceOp::kMax).wait();
  return value;
}

std::vector<data::MicroBatch> random_batches(const proto::Train& train,
                                             const parallel::DeviceMesh& mesh,
                                             std::int64_t vocab_size) {
  const data::BatchPlan plan = batch_plan(train, mesh);
  std::vector<data::MicroBatch> batches = empty_batches(plan);
  for (data::MicroBatch& batch : batches) {
    batch.tokens.resize(static_cast<std::size_t>(batch.T * batch.B));
    fill_random(batch.tokens, vocab_size, str("bench tokens ", plan.data_rank, ' ', batch.index));
  }
  return batches;
}

PreparedStage random_stage(const JobContext& context) {
  const TrainedModels models(context.config, context.job.train());
  PreparedStage prepared = assemble_stage(context, models.student, models.teacher_or_null());
  fill_random(*prepared.parameters, context.stream);
  if (prepared.teacher_parameters != nullptr) {
    fill_random(*prepared.teacher_parameters, context.stream);
    prepared.teacher_parameters->transpose_matrices(context.stream);
  }
  return prepared;
}

Measurement measure(const JobContext& context, int steps) {
  const proto::Train& train = context.job.train();
  const PreparedStage prepared = random_stage(context);
  train::TrainerOptions options = trainer_options(context.job);
  options.record_passes = context.config.cuda_graphs();
  train::Trainer trainer(*prepared.stage, context.mesh, options, context.stream);
  train::Trace trace;
  trainer.set_trace(&trace);
  const auto batches = random_batches(train, context.mesh, prepared.config.vocab_size);
  const double peak = peak_flops(context);
  context.stream.allocator()->reset_peak();
  context.world().observe(&trace);
  std::vector<double> seconds, waited;
  for (int i = 0; i < kWarmup + steps; ++i) {
    const double start = steady_seconds();
    trainer.step(i, batches, false);
    context.stream.synchronize();
    const double took = steady_seconds() - start;
    double waits = 0;
    for (const auto& [name, traffic] : trace.take_traffic()) waits += traffic.waited;
    if (i < kWarmup) continue;
    seconds.push_back(took);
    waited.push_back(waits);
  }
  context.world().observe(nullptr);
  Measurement m;
  m.seconds = largest(median(seconds), context.world());
  m.waited = largest(median(waited), context.world());
  m.peak_bytes =
      largest(static_cast<double>(context.stream.allocator()->peak_bytes()), context.world());
  const double tokens = double(train.batch().sequences()) * double(train.data().sequence_length());
  m.mfu =
      tokens / m.seconds * prepared.stage->flops_per_token(train.data().sequence_length()) / peak;
  return m;
}

std::string layout_text(const parallel::Layout& layout) {
  std::string text;
  for (const auto& [name, size] : {std::pair{"pipeline", layout.pipeline},
                                   {"data", layout.data},
                                   {"context", layout.context},
                                   {"tensor", layout.tensor}})
    if (size > 1) text += str(text.empty() ? "" : " ", name, '=', size);
  return text.empty() ? "one rank" : text;
}

void write_row(std::ostream& out, const proto::Job& job, const parallel::Layout& layout,
               const Measurement& m, const LayoutPlan& plan) {
  const proto::Train& train = job.train();
  const double tokens = double(train.batch().sequences()) * double(train.data().sequence_length());
  out << std::left << std::setw(14) << name_in_config(job) << std::setw(26) << layout_text(layout)
      << std::right << std::setw(10) << formatted("%.0f", tokens / m.seconds) << std::setw(10)
      << formatted("%.1f", 1e3 * m.seconds) << std::setw(8) << formatted("%.1f%%", 100 * m.mfu)
      << std::setw(9) << formatted("%.1f%%", 100 * m.waited / m.seconds) << std::setw(11)
      << human_bytes(m.peak_bytes) << std::setw(11) << formatted("%.1f", 1e3 * plan.seconds)
      << std::setw(8) << formatted("%.2f", plan.seconds / m.seconds) << std::setw(11)
      << human_bytes(plan.fullest.peak) << std::endl;
}

void write_head(std::ostream& out, int ranks, const proto::Machine& machine, bool measured) {
  out << "On " << ranks << (ranks == 1 ? " rank" : " ranks") << "; plans are for "
      << (measured ? "this machine as measured just now:" : machine.name() + ":") << '\n'
      << machine.ShortDebugString() << '\n'
      << std::left << std::setw(14) << "job" << std::setw(26) << "layout" << std::right
      << std::setw(10) << "tokens/s" << std::setw(10) << "ms" << std::setw(8) << "MFU"
      << std::setw(9) << "waiting" << std::setw(11) << "peak" << std::setw(11) << "planned ms"
      << std::setw(8) << "of it" << std::setw(11) << "peak" << std::endl;
}

}  // namespace

void bench_jobs(const Config& config, comm::Communicator& world, const JobBenchOptions& options,
                std::ostream& out) {
  std::vector<int> jobs;
  for (const int i : job_order(config)) {
    const proto::Job& job = config.job(i);
    if (job.has_train() && is_asked(config, i, options.job)) jobs.push_back(i);
  }
  HALO_REQUIRE_INPUT(!jobs.empty(), str("the config has no training job ",
                                        options.job.empty() ? "to bench" : options.job));
  for (const int i : jobs) {
    require_this_build(config, config.job(i));
    std::ignore = layout_of_job(config.job(i), world.size());
    require_architecture(config, config.job(i));
  }
  Stream stream = stream_of_rank(config, world);
  const std::unique_ptr<comm::Communicator> between_gpus = device_ranks(config, world, stream);
  comm::Communicator& ranks = between_gpus != nullptr ? *between_gpus : world;
  std::optional<MatmulTables> products;
  if (stream.device() == Device::kCuda) products.emplace(stream);
  const bool measures = options.machine.empty();
  const proto::Machine machine =
      measures ? measure_machine(stream, ranks, config.job(jobs.front()).precision())
               : read_machine(options.machine);
  const bool writes = world.rank() == 0;
  if (writes) write_head(out, world.size(), machine, measures);
  for (const int i : jobs) {
    const proto::Job& job = config.job(i);
    const parallel::DeviceMesh mesh(ranks, layout_of_job(job, world.size()));
    const JobContext context{config, job, i, mesh, stream, [] { return false; }};
    const Measurement m = measure(context, options.steps);
    if (writes)
      write_row(out, job, mesh.layout(), m, plan_layout(config, job, world.size(), machine));
  }
  if (writes && products) products->save();
  world.barrier().wait();
}

}  // namespace halo::launch
