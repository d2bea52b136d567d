#include "launch/jobs/run_jobs.h"

#include <glog/logging.h>

#include <set>
#include <tuple>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "launch/health/address.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/job_queue.h"
#include "launch/jobs/job_runner.h"
#include "launch/jobs/output_lock.h"
#include "launch/jobs/run_checks.h"
#include "launch/jobs/run_record.h"
#include "launch/monitor/status_board.h"
#include "launch/scheduler/crew.h"
#include "launch/sweep/expand_sweep.h"

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
std::int32_t agreed(std::int32_t value, comm::Communicator& world) {
  world.broadcast(view(&value, {1}), 0).wait();
  return value;
}

/// The jobs that have ended.
std::set<std::string> agreed_ended(const Config& config, const std::vector<int>& order,
                                   comm::Communicator& world) {
  std::vector<std::int32_t> flags(order.size());
  if (world.rank() == 0)
    for (std::size_t i = 0; i < order.size(); ++i)
      flags[i] = has_ended(config, config.job(order[i])) ? 1 : 0;
  world.broadcast(view(flags.data(), {std::ssize(flags)}), 0).wait();
  std::set<std::string> ended;
  for (std::size_t i = 0; i < order.size(); ++i)
    if (flags[i] != 0) ended.insert(config.job(order[i]).name());
  return ended;
}

/// All that can be known before the first job begins. Rank 0 looks at the files, whose checks may take long. Returns the
/// jobs that have ended.
std::set<std::string> require_sound(const Config& config, const std::vector<int>& order,
                                    bool hosts_lost, comm::Communicator& world) {
  require_outputs_apart(config, order);
  for (const int i : order) {
    require_this_build(config, config.job(i));
    refuse_changes(config, i);
  }
  std::set<std::string> ended = agreed_ended(config, order, world);
  std::vector<const proto::Job*> to_do;
  for (const int i : order)
    if (!ended.contains(config.job(i).name())) to_do.push_back(&config.job(i));
  for (const proto::Job* job : to_do) {
    const int ranks = ranks_of_job(*job, world.size(), hosts_lost);
    LOG_IF(WARNING, world.rank() == 0 && ranks > 0 && ranks < job->ranks())
        << "job " << job->name() << ": hosts are gone: it goes on on " << ranks << " of its "
        << job->ranks() << " ranks";
    if (ranks > 0) std::ignore = layout_of_job(*job, ranks);
  }
  const Architectures architectures(config);
  if (world.rank() == 0)
    for (const proto::Job* job : to_do) require_inputs(config, architectures, *job);
  world.barrier().wait();
  for (const proto::Job* job : to_do) require_architecture(config, *job);
  return ended;
}

/// Jobs that have ended keep their results; says so when what they were made from is made again.
void warn_of_older_results(const Config& config, const std::vector<int>& order,
                           const std::set<std::string>& ended) {
  std::set<std::string> runs;
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    if (!ended.contains(job.name())) {
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

}  // namespace

DType JobContext::dtype() const { return dtype_of(job.precision()); }

void begin_job_folder(const Config& config, int job) {
  const JobFolder folder(config.output(), config.job(job).name());
  fs::create_directories(folder.path());
  write_file_atomically(folder.config(), to_text(job_config(config, job)));
}

void JobContext::begin_folder() const { begin_job_folder(config, index); }

bool JobContext::stop_agreed() const {
  std::int32_t flag = stop_requested() ? 1 : 0;
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

RunOutcome run_jobs(const Config& config, comm::Communicator& world, const std::atomic<bool>& stop,
                    const RunListeners& listeners) {
  const std::vector<int> order = job_order(config);
  // A first start has every rank that the jobs want, or is bad input.
  const bool started_again = agreed(restarts_before(), world) > 0;
  const std::set<std::string> ended = require_sound(config, order, started_again, world);
  const OutputLock lock(config.output(), world, started_again);
  for (const int i : order)
    refuse_changes(config, i);  // another run may have begun before the lock
  if (world.rank() == 0) warn_of_older_results(config, order, ended);
  Stream stream = stream_of_rank(config, world);
  const std::unique_ptr<comm::Communicator> between_gpus = device_ranks(config, world, stream);
  JobRunner runner(config, world, between_gpus != nullptr ? *between_gpus : world, stream);
  runner.on_failure = listeners.on_failure;
  const auto control = world.split(0, world.rank(), std::string(comm::kControlCommunicator));

  CrewOptions options;
  options.work = [&](const proto::JobOrder& job, const std::function<bool()>& stop_requested) {
    return runner.run(job, stop_requested);
  };
  options.clock = unix_seconds;
  options.stop = &stop;
  auto outcome = RunOutcome::kDone;
  if (world.rank() == 0) {
    RunRecord record(config, world.size(), listeners);
    KnownJobs known{ended, plan_shards(config, ended, world.size()), {}, started_again};
    record.enqueue(order, std::move(known));
    options.on_event = [&](const proto::SchedulerEvent& event) { record.tell(event); };
    run_first(*control, record.table(), record.journal(), options);
    outcome = record.finish();
  } else {
    run_other(*control, options);
  }
  return static_cast<RunOutcome>(agreed(static_cast<std::int32_t>(outcome), world));
}

}  // namespace halo::launch
