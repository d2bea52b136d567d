#include "launch/jobs/run_jobs.h"

#include <iostream>

#include "checkpoints/checkpoint_folder.h"
#include "core/base/file.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

DType dtype_of(proto::Precision precision) {
  switch (precision) {
    case proto::FP64:
      return DType::kFloat64;
    case proto::FP32:
      return DType::kFloat32;
    case proto::BF16:
      return DType::kBFloat16;
  }
  throw Error(str("no such precision: ", static_cast<int>(precision)));
}

void require_this_build(const Config& config, const proto::Job& job) {
  HALO_REQUIRE_INPUT(config.device() != proto::CUDA,
                     "device: CUDA: this build has no CUDA; use --device cpu");
  HALO_REQUIRE_INPUT(
      job.precision() != proto::BF16,
      str("job ", job.name(), ": precision: BF16 needs a GPU; the CPU computes in FP32 and FP64"));
  HALO_REQUIRE_INPUT(job.ranks() == 0,
                     str("job ", job.name(), ": ranks: ", job.ranks(),
                         ": this version runs each job on all ranks; leave it at 0"));
  const proto::Layout& l = job.layout();
  HALO_REQUIRE_INPUT(l.pipeline() == 1 && l.context() == 1 && l.tensor() == 1,
                     str("job ", job.name(), ": layout: pipeline ", l.pipeline(), ", context ",
                         l.context(), ", tensor ", l.tensor(),
                         ": this version runs data parallelism alone; leave the others at 1"));
}

/// Whether a job of this config makes it: inside the output, or what an export job writes.
bool is_made_here(const std::string& path, const Config& config) {
  const fs::path inside = fs::path(path).lexically_normal().lexically_relative(
      fs::path(config.output()).lexically_normal());
  if (!inside.empty() && *inside.begin() != "..") return true;
  for (const proto::Job& job : config.job()) {
    if (job.has_export_() && !job.export_().to().empty() &&
        fs::path(job.export_().to()).lexically_normal() == fs::path(path).lexically_normal())
      return true;
  }
  return false;
}

/// Files and models that people give must be there before the first job, not only when the job that reads them begins.
void require_files(const Config& config, const proto::Job& job) {
  const auto require = [&](const std::string& path) {
    HALO_REQUIRE_INPUT(path.empty() || fs::exists(path),
                       str(path, ": job ", job.name(), ": no such file or folder"));
  };
  const auto require_all = [&](const auto& paths) {
    for (const std::string& path : paths) require(path);
  };
  const auto require_model = [&](const std::string& reference) {
    if (referenced_job(reference).empty() && !is_made_here(reference, config)) require(reference);
  };
  const proto::Train& train = job.train();
  require_all(train.data().tokens());
  require_all(train.validation().tokens());
  require(train.student_weights());
  for (const std::string& model : {train.teacher(), train.student(), train.model()})
    require_model(model);
  require_all(job.select().tasks());
  require(job.select().scores());
  require_all(job.evaluate().tokens());
  require_all(job.evaluate().tasks());
  for (const std::string& model : job.evaluate().models()) require_model(model);
  require_model(job.export_().from());
  require(job.report().gzip_text());
}

void refuse_changes(const JobFolder& folder, const Config& now) {
  if (!fs::exists(folder.config())) return;
  const auto changes = changes_that_forbid_resume(read_config(folder.config().string()), now);
  if (changes.empty()) return;
  std::string text = str("job ", folder.name(), " began with another config than this one:");
  for (const FieldChange& change : changes) {
    text += str("\n  ", change.path, ": ", change.stored.empty() ? "(unset)" : change.stored,
                " -> ", change.now.empty() ? "(unset)" : change.now);
  }
  throw InputError(
      text + str("\nGive the old values, another output, or remove ", folder.path().string()));
}

bool has_ended(const proto::Job& job, const JobFolder& folder) {
  if (!job.has_train()) return !job.has_report() && fs::exists(folder.result());
  return fs::exists(folder.summary()) &&
         fs::exists(checkpoints::final_folder(folder.checkpoints(), job.train().steps()));
}

JobOutcome run_job(const JobContext& context) {
  switch (context.job.work_case()) {
    case proto::Job::kTrain:
      return run_train_job(context);
    case proto::Job::kSelect:
      return run_select_job(context);
    case proto::Job::kEvaluate:
      return run_evaluate_job(context);
    case proto::Job::kExport:
      return run_export_job(context);
    case proto::Job::kReport:
      return run_report_job(context);
    case proto::Job::WORK_NOT_SET:
      break;
  }
  throw InputError(str("job ", context.job.name(), " has no work"));
}

/// What rank 0 sees decides for all ranks, since a folder may look different elsewhere for a moment.
bool agreed(bool value, comm::Communicator& world) {
  std::int32_t flag = value ? 1 : 0;
  world.broadcast(view(&flag, {1}), 0).wait();
  return flag != 0;
}

void say_stopped(const JobContext& context) {
  if (!context.is_first_rank()) return;
  std::cout << "stopped as asked before the end of job " << context.job.name()
            << "; the same command goes on from there" << std::endl;
}

}  // namespace

DType JobContext::dtype() const { return dtype_of(job.precision()); }

void JobContext::begin_folder() const {
  fs::create_directories(folder().path());
  write_file_atomically(folder().config(), to_text(job_config(config, index)));
}

bool JobContext::stop_agreed() const {
  std::int32_t flag = stop ? 1 : 0;
  world().all_reduce(view(&flag, {1}), comm::ReduceOp::kMax).wait();
  return flag != 0;
}

std::map<std::string, Config> stored_configs(const Config& config) {
  std::map<std::string, Config> stored;
  for (const proto::Job& job : config.job()) {
    const JobFolder folder(config.output(), job.name());
    if (fs::exists(folder.config())) stored[job.name()] = read_config(folder.config().string());
  }
  return stored;
}

bool run_jobs(const Config& config, comm::Communicator& world, const std::atomic<bool>& stop) {
  const std::vector<int> order = job_order(config);
  for (const int i : order) {
    const JobFolder folder(config.output(), config.job(i).name());
    require_this_build(config, config.job(i));
    if (!has_ended(config.job(i), folder)) require_files(config, config.job(i));
    refuse_changes(folder, job_config(config, i));
  }
  Stream stream(threads_of_rank(config, world));
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    const JobFolder folder(config.output(), job.name());
    if (agreed(has_ended(job, folder), world)) continue;
    const parallel::DeviceMesh mesh(world, parallel::fill_data({}, world.size()));
    const JobContext context{config, job, i, mesh, stream, stop};
    if (context.stop_agreed() || run_job(context) == JobOutcome::kStopped) {
      say_stopped(context);
      return false;
    }
    world.barrier().wait();  // what rank 0 wrote is there before another rank's next job reads it
  }
  return true;
}

}  // namespace halo::launch
