#include "launch/jobs/run_jobs.h"

#include <glog/logging.h>

#include <algorithm>
#include <iostream>
#include <set>
#include <tuple>
#include <utility>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "launch/health/address.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/job_queue.h"
#include "launch/jobs/job_runner.h"
#include "launch/jobs/output_lock.h"
#include "launch/jobs/run_checks.h"
#include "launch/monitor/status_board.h"
#include "launch/program.h"
#include "launch/scheduler/crew.h"

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

/// All that can be known before the first job begins. Rank 0 looks at the files, whose checks may take long. Returns the
/// jobs that have ended.
std::set<std::string> require_sound(const Config& config, const std::vector<int>& order,
                                    bool hosts_lost, comm::Communicator& world) {
  require_outputs_apart(config, order);
  std::set<std::string> ended;
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    require_this_build(config, job);
    refuse_changes(config, i);
    if (agreed(has_ended(config, job) ? 1 : 0, world) != 0) {
      ended.insert(job.name());
      continue;
    }
    const int ranks = ranks_of_job(job, world.size(), hosts_lost);
    LOG_IF(WARNING, world.rank() == 0 && ranks > 0 && ranks < job.ranks())
        << "job " << job.name() << ": hosts are gone: it goes on on " << ranks << " of its "
        << job.ranks() << " ranks";
    if (ranks > 0) std::ignore = layout_of_job(job, ranks);
    if (world.rank() == 0) require_inputs(config, job);
    world.barrier().wait();
    require_architecture(config, job);
  }
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

/// Rank 0's knowledge of the run: the table of its jobs, kept in output/journal.
class RunRecord {
 public:
  RunRecord(const Config& config, int ranks, const RunListeners& listeners)
      : config_(config),
        path_(fs::path(config.output()) / "journal"),
        journal_(path_),
        listeners_(listeners) {
    for (const auto& event : journal_.events()) table_.apply(event);
    proto::SchedulerEvent event;
    event.mutable_began()->set_ranks(ranks);
    event.mutable_began()->set_tries_failed_again(true);
    record(event);
  }

  void enqueue(const std::vector<int>& order, const std::set<std::string>& ended, bool hosts_lost) {
    enqueue_jobs(
        config_, order, ended, table_,
        [this](const proto::SchedulerEvent& event) {
          record(event);
          if (!event.withdrawn().has_reason()) return;
          tell_failure(event.withdrawn().name());
          if (listeners_.on_failure) listeners_.on_failure(event.withdrawn().reason(), false);
        },
        hosts_lost);
    show();
    began_ = unix_seconds();
  }

  [[nodiscard]] JobTable& table() { return table_; }
  [[nodiscard]] Journal& journal() { return journal_; }

  /// Shows what has happened, and says why a job failed.
  void tell(const proto::SchedulerEvent& event) {
    show();
    if (event.has_ended() && !event.ended().succeeded()) tell_failure(event.ended().name());
  }

  /// Says what was not done, and what the ranks' time went to. The end of a run that left nothing leaves no journal.
  RunOutcome finish() {
    bool failed = false, all_bad_input = true, ended = true, left_something = false;
    int done = 0;
    for (const JobStatus* status : table_.jobs()) {
      const std::string& name = status->job.name();
      left_something = left_something || fs::exists(JobFolder(config_.output(), name).path());
      ended = ended && status->state != JobState::kWaiting && status->state != JobState::kRunning;
      done += status->started >= began_ && status->state == JobState::kDone ? 1 : 0;
      if (status->state == JobState::kFailed) {
        failed = true;
        all_bad_input = all_bad_input && status->is_bad_input;
      }
      if (status->state == JobState::kSkipped && find(name))
        std::cout << "job " << name << " was not begun: it " << status->reason << '\n';
    }
    const double now = unix_seconds();
    if (table_.ranks() > 1 && done > 1)
      std::cout << done << " jobs on " << table_.ranks() << " ranks in "
                << human_seconds(now - began_) << ", "
                << formatted("%.0f%%", 100 * table_.idle_share(now))
                << " of the ranks' time without a job\n";
    std::cout.flush();
    if (!left_something) fs::remove(path_);
    if (!ended) return RunOutcome::kStopped;
    if (!failed) return RunOutcome::kDone;
    return all_bad_input ? RunOutcome::kBadInput : RunOutcome::kFailed;
  }

 private:
  void record(proto::SchedulerEvent event) {
    event.set_time(unix_seconds());
    record_event(event, journal_, table_);
  }
  void tell_failure(const std::string& name) const {
    const JobStatus& status = table_.job(name);
    const std::string job = str("job ", name);
    std::string text = status.reason;
    if (text.find(job) == std::string::npos) text = job + ": " + text;
    if (status.state == JobState::kWaiting)
      text += str(" (it is tried again, after try ", status.attempts, " of ",
                  status.job.retries() + 1, ")");
    report_error("halo_train", text);
  }
  /// On the monitor's page.
  void show() {
    StatusBoard* const board = listeners_.board;
    if (board == nullptr) return;
    for (const JobStatus* status : table_.jobs()) {
      const std::string& name = status->job.name();
      const auto [known, is_new] = shown_.emplace(name, status->state);
      if (!is_new && std::exchange(known->second, status->state) == status->state) continue;
      board->job_state(name, status->state, steady_seconds(), status->reason);
      if (!status->ranks.empty()) board->job_ranks(name, static_cast<int>(status->ranks.size()));
    }
  }
  [[nodiscard]] bool find(const std::string& name) const {
    return std::ranges::any_of(config_.job(),
                               [&](const proto::Job& job) { return job.name() == name; });
  }

  const Config& config_;
  fs::path path_;
  Journal journal_;
  JobTable table_;
  const RunListeners& listeners_;
  std::map<std::string, JobState> shown_;
  double began_ = 0;
};

}  // namespace

DType JobContext::dtype() const { return dtype_of(job.precision()); }

void JobContext::begin_folder() const {
  fs::create_directories(folder().path());
  write_file_atomically(folder().config(), to_text(job_config(config, index)));
}

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
    record.enqueue(order, ended, started_again);
    options.on_event = [&](const proto::SchedulerEvent& event) { record.tell(event); };
    run_first(*control, record.table(), record.journal(), options);
    outcome = record.finish();
  } else {
    run_other(*control, options);
  }
  return static_cast<RunOutcome>(agreed(static_cast<std::int32_t>(outcome), world));
}

}  // namespace halo::launch
