#include "launch/jobs/job_checkpoints.h"

#include <glog/logging.h>

#include <vector>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/clock.h"
#include "core/base/host_access.h"
#include "core/base/text.h"

namespace halo::launch {
namespace {

checkpoints::Retention retention_of(const proto::Checkpoint& config) {
  return {config.keep_last(), config.keep_every(), config.keep_best()};
}

std::string milliseconds(double seconds) { return formatted("%.3g ms", 1e3 * seconds); }

}  // namespace

JobCheckpoints::JobCheckpoints(const JobContext& context, train::ShardedAdamW& optimizer,
                               Options options)
    : context_(context),
      config_(context.job.train().checkpoint()),
      optimizer_(optimizer),
      options_(std::move(options)),
      saver_(context.folder().checkpoints(), retention_of(config_), context.world(),
             options_.sync) {}

bool JobCheckpoints::due(std::int64_t steps_done) const {
  return config_.every_steps() > 0 && steps_done % config_.every_steps() == 0;
}

/// A rollback may want an old one.
void JobCheckpoints::set_retention() {
  const bool keeps_all = options_.keeps_all && options_.keeps_all();
  saver_.set_retention(keeps_all ? checkpoints::Retention() : retention_of(config_));
}

void JobCheckpoints::advance(const checkpoints::CheckpointSaver::Votes& sums) {
  set_retention();
  if (const auto result = saver_.advance(sums)) tell(*result);
}

void JobCheckpoints::wait() {
  set_retention();
  if (const auto result = saver_.wait()) tell(*result);
}

checkpoints::CheckpointInfo JobCheckpoints::info(std::int64_t steps_done,
                                                 std::optional<double> validation) const {
  checkpoints::CheckpointInfo info;
  info.step = steps_done;
  info.adam_steps = optimizer_.steps();
  info.config_text = to_text(job_config(context_.config, context_.index));
  info.stage = options_.stage;
  info.dtype = wide_dtype(context_.dtype());
  info.notes = options_.notes;
  if (validation) checkpoints::note_validation_loss(info, *validation);
  if (options_.add) options_.add(info);
  return info;
}

void JobCheckpoints::save(std::int64_t steps_done, std::optional<double> validation,
                          bool must_save) {
  if (saver_.under_way()) {
    const double begin = steady_seconds();
    wait();
    if (options_.tell)
      options_.tell(str("checkpoint step ", steps_done, ": waited ",
                        milliseconds(steady_seconds() - begin), " for the one before it"));
  }
  set_retention();
  std::vector<checkpoints::CheckpointPiece> pieces;
  for (const auto& s : optimizer_.counted())
    pieces.push_back({s.parameter->name, s.parameter->global_shape, s.region, s.master, s.m, s.v});
  const checkpoints::CheckpointInfo about = info(steps_done, validation);
  std::optional<checkpoints::SaveResult> result;
  if (config_.asynchronous() && !must_save) {
    result = saver_.start(about, pieces, context_.stream);
  } else {
    result = saver_.save(about, pieces, context_.stream);
    HALO_REQUIRE(result->saved || !must_save, str("the checkpoint ", result->folder.string(),
                                                  " could not be written: ", result->reason));
  }
  if (result) tell(*result);
}

void JobCheckpoints::tell(const checkpoints::SaveResult& result) const {
  if (!options_.tell) return;
  const std::string folder = result.folder.string();
  if (!result.saved)
    return options_.tell(str("checkpoint ", folder, " was not written: ", result.reason));
  std::string text =
      str("checkpoint ", result.folder.filename().string(), ": training stood still ",
          milliseconds(result.stalled), ", written in ", milliseconds(result.taken));
  if (saver_.snapshot_bytes() > 0)
    text += str(", copy of ", human_bytes(static_cast<double>(saver_.snapshot_bytes())),
                " a rank in host memory");
  options_.tell(text);
}

std::unique_ptr<checkpoints::CheckpointReader> JobCheckpoints::resume(
    const std::function<void(const checkpoints::CheckpointReader&)>& accept,
    std::int64_t newest_step) {
  wait();
  const auto warn = [](const std::string& message) { LOG(WARNING) << message; };
  const checkpoints::LoadCallbacks callbacks{
      accept, [this](checkpoints::CheckpointReader& reader) { load(reader); }};
  auto reader = checkpoints::latest_good(context_.folder().checkpoints(), warn, context_.world(),
                                         callbacks, newest_step);
  if (reader == nullptr) return nullptr;
  optimizer_.set_steps(reader->info().adam_steps);
  optimizer_.publish_masters();
  return reader;
}

void JobCheckpoints::load(checkpoints::CheckpointReader& reader) {
  for (const auto& state : optimizer_.owned()) {
    const auto read = [&](checkpoints::Which which, const TensorView& to) {
      write_from_host(to, context_.stream, [&](const TensorView& values) {
        reader.read(state.parameter->name, which, state.region, values);
      });
    };
    read(checkpoints::Which::kMaster, state.master);
    read(checkpoints::Which::kM, state.m);
    read(checkpoints::Which::kV, state.v);
  }
}

}  // namespace halo::launch
