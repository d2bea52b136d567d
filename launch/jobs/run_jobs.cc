#include "launch/jobs/run_jobs.h"

#include <glog/logging.h>

#include <iostream>
#include <set>
#include <tuple>

#include "core/base/file.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/output_lock.h"
#include "launch/jobs/run_checks.h"

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

/// What rank 0 sees decides for all ranks, since a folder may look different elsewhere for a moment.
bool agreed(bool value, comm::Communicator& world) {
  std::int32_t flag = value ? 1 : 0;
  world.broadcast(view(&flag, {1}), 0).wait();
  return flag != 0;
}

/// Training jobs run on their layout; the others share their work out over all ranks.
parallel::Layout layout_of(const proto::Job& job, int ranks) {
  parallel::Layout layout;
  if (job.has_train()) {
    layout.pipeline = job.layout().pipeline();
    layout.context = job.layout().context();
    layout.tensor = job.layout().tensor();
  }
  try {
    return parallel::fill_data(layout, ranks);
  } catch (const InputError& error) {
    throw InputError(str("job ", job.name(), ": ", error.what()));
  }
}

/// All that can be known before the first job begins. Rank 0 looks at the files, whose checks may take long.
void require_sound(const Config& config, const std::vector<int>& order, comm::Communicator& world) {
  require_outputs_apart(config, order);
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    require_this_build(config, job);
    refuse_changes(config, i);
    if (agreed(has_ended(config, job), world)) continue;
    std::ignore = layout_of(job, world.size());
    if (world.rank() == 0) require_inputs(config, job);
    world.barrier().wait();
    require_architecture(config, job);
  }
}

/// Jobs that have ended keep their results; says so when what they were made from is made again.
void warn_of_older_results(const Config& config, const std::vector<int>& order) {
  std::set<std::string> runs;
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    if (!has_ended(config, job)) {
      runs.insert(job.name());
      continue;
    }
    for (const std::string& need : job.needs()) {
      if (!runs.contains(need)) continue;
      LOG(WARNING) << "job " << job.name() << " keeps the result that it made from job " << need
                   << " before: remove " << JobFolder(config.output(), job.name()).path().string()
                   << " to make it again";
      runs.insert(job.name());  // what is made from it is as old
      break;
    }
  }
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
  require_sound(config, order, world);
  const OutputLock lock(config.output(), world);
  for (const int i : order)
    refuse_changes(config, i);  // another run may have begun before the lock
  if (world.rank() == 0) warn_of_older_results(config, order);
  Stream stream = stream_of_rank(config, world);
  const std::unique_ptr<comm::Communicator> between_gpus = device_ranks(config, world, stream);
  comm::Communicator& ranks = between_gpus != nullptr ? *between_gpus : world;
  MatmulTables matmul_tables(config.output(), world.rank(), stream);
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    if (agreed(has_ended(config, job), world)) continue;
    const parallel::DeviceMesh mesh(ranks, layout_of(job, world.size()));
    const JobContext context{config, job, i, mesh, stream, stop, &matmul_tables};
    const bool stopped = context.stop_agreed() || run_job(context) == JobOutcome::kStopped;
    matmul_tables.save();
    if (stopped) {
      say_stopped(context);
      return false;
    }
    world.barrier().wait();  // what rank 0 wrote is there before another rank's next job reads it
  }
  return true;
}

}  // namespace halo::launch
