#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <limits>
#include <optional>

#include "checkpoints/checkpoint_folder.h"
#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/safetensors_writer.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/host_access.h"
#include "core/base/progress_point.h"
#include "core/base/text.h"
#include "launch/jobs/batches.h"
#include "launch/jobs/collect_gradients.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_checkpoints.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/job_guard.h"
#include "launch/jobs/job_summary.h"
#include "launch/jobs/model_reference.h"
#include "launch/jobs/nan_drill.h"
#include "launch/jobs/prepared_stage.h"
#include "launch/jobs/trace_file.h"
#include "launch/jobs/trainer_options.h"
#include "launch/metrics.h"
#include "launch/progress.h"
#include "launch/sweep/halving.h"
#include "launch/tensorboard.h"

namespace halo::launch {
namespace {

constexpr int kTracedSteps = 4;

/// What comes after a step.
enum class Next : std::uint8_t { kStep, kStop, kRollBack };

/// Of a step, without what this rank waited for others.
double own_seconds(double seconds, const std::map<std::string, train::AxisTraffic>& traffic) {
  for (const auto& [name, t] : traffic) seconds -= t.waited;
  return std::max(seconds, 0.0);
}

/// A drill waits inside of passes, which a recorded one does not come by.
train::TrainerOptions training_options(const JobContext& context) {
  train::TrainerOptions options = trainer_options(context.job);
  options.record_passes = context.config.cuda_graphs() && std::getenv("HALO_DRILL") == nullptr;
  return options;
}

/// One training job on this rank, from its newest checkpoint or from the start.
class TrainJob {
 public:
  TrainJob(const JobContext& context, JobGuard& guard)
      : context_(context),
        guard_(guard),
        train_(context.job.train()),
        end_(context.until > 0 ? std::min(context.until, train_.steps()) : train_.steps()),
        folder_(context.folder()),
        prepared_((pass_point({"loading", -1, context.job.name()}), prepare_stage(context))),
        trainer_(*prepared_.stage, context.mesh, training_options(context), context.stream),
        peak_flops_(peak_flops(context)),
        checkpoints_(context, trainer_.optimizer(), checkpoint_options()) {
    context.stream.allocator()->reset_peak();  // neither loading nor measuring is the steps'
    trainer_.set_trace(&trace_);
    context.world().observe(&trace_);
    trainer_.riders = [this] { return checkpoints_.votes(); };
    trainer_.on_gradients = [this](std::int64_t step) {
      if (nan_drill_)
        nan_drill_->spoil(context_.world().rank(), step, trainer_.optimizer(), context_.stream);
      if (step == train_.dump_gradients_at()) dump_gradients();
    };
  }

  TrainJob(const TrainJob&) = delete;
  TrainJob& operator=(const TrainJob&) = delete;
  ~TrainJob() { context_.world().observe(nullptr); }

  /// Nothing when the job is to be made anew for a rollback.
  std::optional<JobOutcome> run() {
    const auto [done, first] = resume();
    HALO_REQUIRE_INPUT(first <= train_.steps(),
                       str("job ", context_.job.name(), " has done ", first,
                           " steps: train.steps cannot be lowered to ", train_.steps()));
    HALO_REQUIRE_INPUT(first <= end_ || end_ == train_.steps(),
                       str("job ", context_.job.name(), " has done ", first,
                           " steps: it cannot be compared with others after ", end_));
    if (done < first) end_rollback(done, first);
    if (first >= end_) {  // it ended between its last checkpoint and its summary
      finish();
      return JobOutcome::kDone;
    }
    Batches batches(context_, prepared_.config.vocab_size, first);
    if (context_.is_first_rank() && !metrics_) open_outputs(first);
    if (context_.config.monitor().trace() && done == first) {
      context_.world().barrier().wait();  // the ranks' times begin together
      trace_.record();
    }
    for (std::int64_t step = first; step < end_; ++step) {
      const Next next = run_step(step, batches);
      if (next == Next::kRollBack) return std::nullopt;
      if (next == Next::kStop && step + 1 < end_) {
        if (progress_) progress_->note(str("step ", step + 1, " of ", train_.steps(), " saved"));
        return JobOutcome::kStopped;
      }
    }
    finish();
    return JobOutcome::kDone;
  }

 private:
  JobGuard::Begin resume();
  void require_own(const checkpoints::CheckpointReader& reader);
  [[nodiscard]] JobCheckpoints::Options checkpoint_options();
  void end_rollback(std::int64_t done, std::int64_t first);
  void remove_left_out(std::int64_t done, std::int64_t first) const;
  train::GuardedStep guarded_step(std::int64_t step, std::span<const data::MicroBatch> batches);
  void open_outputs(std::int64_t first);
  Next run_step(std::int64_t step, Batches& batches);
  void record(const train::GuardedStep& guarded, std::int64_t step, double seconds,
              std::optional<double> validation,
              const std::map<std::string, train::AxisTraffic>& traffic);
  void dump_gradients();
  [[nodiscard]] std::vector<std::int64_t> peak_bytes() const;
  void finish();

  const JobContext& context_;
  JobGuard& guard_;
  const proto::Train& train_;
  const std::int64_t end_;  // the step after the last one, or where it pauses
  JobFolder folder_;
  PreparedStage prepared_;
  train::Trainer trainer_;
  train::Trace trace_;
  int traced_steps_ = 0;
  bool did_steps_ = false;
  std::optional<NanDrill> nan_drill_ = NanDrill::from_environment(context_.world().size());
  double peak_flops_;                     // of all ranks
  std::optional<MetricsWriter> metrics_;  // rank 0 alone, as the next two
  std::optional<TensorBoardWriter> tensorboard_;
  std::optional<Progress> progress_;
  JobCheckpoints checkpoints_;  // last: its thread ends first
};

/// Reads the checkpoint that the guard wants and says where to go on.
JobGuard::Begin TrainJob::resume() {
  const auto reader =
      checkpoints_.resume([this](const auto& found) { require_own(found); }, guard_.newest_step());
  return guard_.begin(reader.get());
}

/// Throws when a checkpoint is not this job's, whoever damaged it.
void TrainJob::require_own(const checkpoints::CheckpointReader& reader) {
  const auto& notes = reader.info().notes;
  const auto stored = notes.find("teacher_fingerprint");
  HALO_REQUIRE_INPUT(
      stored == notes.end() || stored->second == prepared_.notes["teacher_fingerprint"],
      str(reader.folder().string(), ": the teacher ", train_.teacher(),
          " is not the one that this run began with"));
  const std::string stored_model = model::to_json(model::read_model_config(folder_.model_config()));
  HALO_REQUIRE_INPUT(
      stored_model == model::to_json(prepared_.config),
      str(reader.folder().string(),
          ": the model is not the one that this run "
          "began with, which ",
          folder_.model_config().string(), " describes: were other layers selected since?"));
  for (const auto& state : trainer_.optimizer().owned()) {
    const std::string& name = state.parameter->name;
    HALO_REQUIRE_INPUT(
        reader.contains(name) && reader.tensor(name).shape == state.parameter->global_shape,
        str(reader.folder().string(), ": tensor ", name, " of shape ",
            to_string(state.parameter->global_shape), " is not in it"));
  }
}

JobCheckpoints::Options TrainJob::checkpoint_options() {
  JobCheckpoints::Options options;
  options.stage = prepared_.stage->name();
  options.notes = prepared_.notes;
  options.tell = [this](const std::string& text) {
    if (progress_) progress_->note(text);
  };
  options.sync = [this] {
    if (metrics_) metrics_->sync();
  };
  options.add = [this](checkpoints::CheckpointInfo& info) { guard_.store(info); };
  options.keeps_all = [this] { return guard_.in_trouble(); };
  return options;
}

/// Steps [done, first) are left out, and what was written of them goes; a checkpoint says so. Where no step follows, the last
/// validation is of the weights that are left.
void TrainJob::end_rollback(std::int64_t done, std::int64_t first) {
  std::optional<double> validation;
  if (first >= end_ && train_.validation().tokens_size() > 0) {
    pass_point({"validating"});
    validation =
        trainer_.validation_loss(validation_batches(context_, prepared_.config.vocab_size));
  }
  if (context_.is_first_rank()) {
    remove_left_out(done, first);
    open_outputs(done);
    progress_->note(str("steps ", done, " to ", first - 1, " are left out: going on with step ",
                        first, " and the weights of ",
                        done == 0 ? "the beginning" : str("the checkpoint after step ", done)));
    const train::LrSchedule schedule = trainer_options(context_.job).schedule;
    StepMetrics left_out;
    left_out.loss = left_out.grad_norm = std::numeric_limits<double>::quiet_NaN();
    left_out.skipped = true;
    for (left_out.step = done; left_out.step < first; ++left_out.step) {
      left_out.lr = train::lr_at(left_out.step, schedule);
      if (left_out.step + 1 == first) left_out.validation_loss = validation;
      metrics_->append(left_out);
    }
  }
  checkpoints_.save(first, validation, /*must_save=*/true);
}

/// Before the metrics are cut: whoever goes on after a crash in between finds steps and weights that belong together.
void TrainJob::remove_left_out(std::int64_t done, std::int64_t first) const {
  try {
    checkpoints::remove_folders(folder_.checkpoints(), done, first);
  } catch (const Error& error) {
    LOG(WARNING) << "checkpoints of steps that are left out stay: " << error.what();
  }
}

void TrainJob::open_outputs(std::int64_t first) {
  context_.begin_folder();
  write_file_atomically(folder_.model_config(), model::to_json(prepared_.config));
  copy_tokenizer(prepared_.tokenizer, folder_.tokenizer());
  metrics_.emplace(folder_.metrics(), first);
  if (metrics_->missing_steps() > 0) {
    LOG(WARNING) << folder_.metrics().string() << ": lacks " << metrics_->missing_steps()
                 << " of the " << first << " steps that were done before";
  }
  if (metrics_->cut_steps() > 0 && first == 0 && guard_.state().rollbacks == 0) {
    LOG(WARNING) << folder_.metrics().string() << ": held " << metrics_->cut_steps()
                 << " steps of a run that left no checkpoint; the job begins anew";
  }
  if (context_.config.monitor().tensorboard()) tensorboard_.emplace(folder_.tensorboard(), first);
  Progress::Options options;
  options.job = folder_.name();
  options.steps = train_.steps();
  options.first_step = first;
  options.log_every_seconds = context_.config.monitor().log_every_seconds();
  options.terminal = is_terminal(stdout);
  progress_.emplace(stdout, options);
  if (first > 0) progress_->note(str("going on after step ", first, " of ", train_.steps()));
}

/// A checkpoint of before the trouble that is under way is waited for when the job fails or goes back.
train::GuardedStep TrainJob::guarded_step(std::int64_t step,
                                          std::span<const data::MicroBatch> batches) {
  const auto wait = [this] {
    pass_point({"saving"});
    checkpoints_.wait();
  };
  try {
    train::GuardedStep done = guard_.step(trainer_, step, batches);
    if (done.verdict == train::Verdict::kRollBack) wait();
    return done;
  } catch (const train::GuardFailed&) {  // on all ranks
    wait();
    throw;
  }
}

Next TrainJob::run_step(std::int64_t step, Batches& batches) {
  const double start = steady_seconds();
  did_steps_ = true;
  const std::vector<data::MicroBatch> micro_batches = batches.next();
  pass_point({"step", step});
  const train::GuardedStep guarded = guarded_step(step, micro_batches);
  if (guarded.verdict == train::Verdict::kRollBack) return Next::kRollBack;
  const train::StepStats& stats = guarded.stats;
  const double seconds = steady_seconds() - start;
  const auto traffic = trace_.take_traffic();
  pass_point({"step_done", step, {}, own_seconds(seconds, traffic)});
  const std::int64_t done = step + 1;
  const bool last = done == end_;
  const bool due = checkpoints_.due(done);
  checkpoints_.advance(stats.riders);

  std::optional<double> validation;
  const std::int64_t validate_every = train_.validation().every_steps();
  if (train_.validation().tokens_size() > 0 &&
      (last || (validate_every > 0 && done % validate_every == 0) ||
       (due && train_.checkpoint().keep_best()))) {
    pass_point({"validating"});
    validation = trainer_.validation_loss(batches.validation());
  }
  if (context_.is_first_rank()) record(guarded, step, seconds, validation, traffic);
  if (trace_.recording() && (++traced_steps_ == kTracedSteps || last || stats.stop)) {
    trace_.stop();
    write_trace(trace_, folder_.trace(), context_.world());
  }
  if (last || stats.stop || due) {
    pass_point({"saving"});
    if (context_.matmul_tables != nullptr) context_.matmul_tables->save();
    checkpoints_.save(done, validation, last || stats.stop);
  }
  return stats.stop ? Next::kStop : Next::kStep;
}

void TrainJob::record(const train::GuardedStep& guarded, std::int64_t step, double seconds,
                      std::optional<double> validation,
                      const std::map<std::string, train::AxisTraffic>& traffic) {
  const train::StepStats& stats = guarded.stats;
  StepMetrics m;
  m.step = step;
  m.skipped = guarded.verdict == train::Verdict::kSkip;
  m.loss = stats.loss;
  m.grad_norm = stats.grad_norm;
  m.lr = stats.lr;
  m.tokens = m.skipped ? 0 : train_.batch().sequences() * train_.data().sequence_length();
  m.step_ms = seconds * 1e3;
  m.tokens_per_s = static_cast<double>(m.tokens) / seconds;
  m.mfu = m.tokens_per_s * prepared_.stage->flops_per_token(train_.data().sequence_length()) /
          peak_flops_;
  m.memory_gib = static_cast<double>(context_.stream.allocator()->peak_bytes()) / (1 << 30);
  m.validation_loss = validation;
  for (const auto& [name, t] : traffic)
    m.axes.push_back({name, t.bytes, 1e3 * t.seconds, 1e3 * t.waited});
  metrics_->append(m);
  if (tensorboard_) {
    tensorboard_->add_step(m);
    tensorboard_->flush();
  }
  progress_->step(m, steady_seconds());
}

void TrainJob::dump_gradients() {
  trainer_.optimizer().gather_gradients();
  const std::vector<WholeTensor> gradients = collect_gradients(context_, prepared_);
  if (!context_.is_first_rank()) return;
  std::vector<checkpoints::OutputTensor> tensors;
  std::deque<OnHost> values;
  for (const WholeTensor& g : gradients)
    tensors.push_back({g.name,
                       g.tensor.view().dtype,
                       g.tensor.view().shape,
                       values.emplace_back(g.tensor, context_.stream).view(),
                       {}});
  std::filesystem::create_directories(folder_.path());
  checkpoints::write_safetensors(folder_.gradients(), tensors);
}

/// The allocator's peak of every rank.
std::vector<std::int64_t> TrainJob::peak_bytes() const {
  comm::Communicator& world = context_.world();
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<std::int64_t> peaks(ranks);
  const std::vector<std::int64_t> ones(ranks, 1);
  auto own = static_cast<std::int64_t>(context_.stream.allocator()->peak_bytes());
  world.all_gather(view(peaks.data(), {world.size()}), view(&own, {1}), ones).wait();
  return peaks;
}

void TrainJob::finish() {
  // A process that did no step knows no peak.
  const std::vector<std::int64_t> peaks = did_steps_ ? peak_bytes() : std::vector<std::int64_t>();
  if (!context_.is_first_rank()) return;
  if (progress_ && !peaks.empty()) {
    const auto [low, high] = std::ranges::minmax_element(peaks);
    progress_->note(str("peak memory of a rank: ", human_bytes(static_cast<double>(*low)), " to ",
                        human_bytes(static_cast<double>(*high))));
  }
  if (end_ < train_.steps()) {
    write_pause(folder_.path(), pause_of(read_metrics(folder_.metrics()), end_));
    if (progress_) progress_->note(str("paused after step ", end_, " of ", train_.steps()));
    return;
  }
  const auto all = trained_specs(context_, prepared_.config, {model::all_layers(prepared_.config)});
  write_job_summary(folder_, static_cast<std::int64_t>(model::parameter_elements(all)), peaks,
                    train_);
}

}  // namespace

JobOutcome run_train_job(const JobContext& context) {
  JobGuard guard(context);
  for (;;) {
    if (const auto outcome = TrainJob(context, guard).run()) return *outcome;
    // Going back takes as long as beginning: who is asked to stop does it when it goes on, from the same checkpoint.
    if (context.stop_agreed()) return JobOutcome::kStopped;
  }
}

}  // namespace halo::launch
