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
#include "launch/config_check.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/job_queue.h"
#include "launch/jobs/job_runner.h"
#include "launch/jobs/output_lock.h"
#include "launch/jobs/run_checks.h"
#include "launch/jobs/run_halving.h"
#include "launch/monitor/status_board.h"
#include "launch/program.h"
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
                                    comm::Communicator& world) {
  require_outputs_apart(config, order);
  for (const int i : order) {
    require_this_build(config, config.job(i));
    refuse_changes(config, i);
  }
  std::set<std::string> ended = agreed_ended(config, order, world);
  std::vector<const proto::Job*> to_do;
  for (const int i : order)
    if (!ended.contains(config.job(i).name())) to_do.push_back(&config.job(i));
  for (const proto::Job* job : to_do)
    std::ignore = layout_of_job(*job, ranks_of_job(*job, world.size()));
  if (world.rank() == 0)
    for (const proto::Job* job : to_do) require_inputs(config, *job);
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

MonitoredState monitored(JobState state) {
  switch (state) {
    case JobState::kWaiting:
      return MonitoredState::kWaiting;
    case JobState::kRunning:
      return MonitoredState::kRunning;
    case JobState::kDone:
      return MonitoredState::kDone;
    case JobState::kFailed:
      return MonitoredState::kFailed;
    case JobState::kSkipped:
      return MonitoredState::kSkipped;
  }
  return MonitoredState::kWaiting;
}

/// Rank 0's knowledge of the run: the table of its jobs, kept in output/journal.
class RunRecord {
 public:
  RunRecord(const Config& config, int ranks, StatusBoard* board)
      : config_(config),
        path_(fs::path(config.output()) / "journal"),
        journal_(path_),
        halving_(config),
        board_(board) {
    for (const auto& event : journal_.events()) table_.apply(event);
    proto::SchedulerEvent event;
    event.mutable_began()->set_ranks(ranks);
    event.mutable_began()->set_tries_failed_again(true);
    record(event);
  }

  void enqueue(const std::vector<int>& order, const std::set<std::string>& ended) {
    enqueue_jobs(config_, order, ended, halving_.states(ended), table_,
                 [this](const proto::SchedulerEvent& event) { record(event); });
    decide_rungs();
    show();
    began_ = unix_seconds();
  }

  [[nodiscard]] JobTable& table() { return table_; }
  [[nodiscard]] Journal& journal() { return journal_; }

  /// Shows what has happened, and says why a job failed.
  void tell(const proto::SchedulerEvent& event) {
    show();
    if (!event.has_ended()) return;
    tell_failure(event);
    decide_rungs();
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
      if (status->state == JobState::kSkipped && find(name) && !halving_.has_dropped(name))
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
  void tell_failure(const proto::SchedulerEvent& event) const {
    if (event.ended().succeeded()) return;
    const JobStatus& status = table_.job(event.ended().name());
    const std::string job = str("job ", status.job.name());
    std::string text = status.reason;
    if (text.find(job) == std::string::npos) text = job + ": " + text;
    if (const std::string trial = trial_of_job(config_, status.job.name()); !trial.empty())
      text += ", in " + trial;
    if (status.state == JobState::kWaiting)
      text += str(" (it is tried again, after try ", status.attempts, " of ",
                  status.job.retries() + 1, ")");
    report_error("halo_train", text);
  }

  /// Adds those that go on to their next rung.
  void decide_rungs() {
    while (const auto events = halving_.decide(table_)) {
      for (const auto& event : *events) record(event);
      show();
    }
  }
  /// On the monitor's page.
  void show() {
    if (board_ == nullptr) return;
    for (const JobStatus* status : table_.jobs()) {
      const std::string& name = status->job.name();
      const auto [known, is_new] = shown_.emplace(name, status->state);
      if (!is_new && std::exchange(known->second, status->state) == status->state) continue;
      board_->job_state(name, monitored(status->state), steady_seconds(), status->reason);
      if (!status->ranks.empty()) board_->job_ranks(name, static_cast<int>(status->ranks.size()));
    }
  }
  [[nodiscard]] bool find(const std::string& name) const { return find_job(config_, name) >= 0; }

  const Config& config_;
  fs::path path_;
  Journal journal_;
  JobTable table_;
  RunHalving halving_;
  StatusBoard* board_;
  std::map<std::string, JobState> shown_;
  double began_ = 0;
};

}  // namespace

DType JobContext::dtype() const { return dtype_of(job.precision()); }

void JobContext::begin_folder() const {
  fs::create_directories(folder().path());
  write_file_atomically(folder().config(), to_text(job_config(config, index)));
}

void JobContext::tell(std::int64_t step, const char* phase) const {
  if (board != nullptr) board->at_work(0, job.name(), step, phase, steady_seconds());
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
  const std::set<std::string> ended = require_sound(config, order, world);
  const OutputLock lock(config.output(), world);
  for (const int i : order)
    refuse_changes(config, i);  // another run may have begun before the lock
  if (world.rank() == 0) warn_of_older_results(config, order, ended);
  Stream stream = stream_of_rank(config, world);
  const std::unique_ptr<comm::Communicator> between_gpus = device_ranks(config, world, stream);
  JobRunner runner(config, world, between_gpus != nullptr ? *between_gpus : world, stream);
  runner.on_failure = listeners.on_failure;
  runner.board = listeners.board;
  const auto control = world.split(0, world.rank(), std::string(comm::kControlCommunicator));

  CrewOptions options;
  options.work = [&](const proto::JobOrder& job, const std::function<bool()>& stop_requested) {
    return runner.run(job, stop_requested);
  };
  options.clock = unix_seconds;
  options.stop = &stop;
  auto outcome = RunOutcome::kDone;
  if (world.rank() == 0) {
    RunRecord record(config, world.size(), listeners.board);
    record.enqueue(order, ended);
    options.on_event = [&](const proto::SchedulerEvent& event) { record.tell(event); };
    run_first(*control, record.table(), record.journal(), options);
    outcome = record.finish();
  } else {
    run_other(*control, options);
  }
  return static_cast<RunOutcome>(agreed(static_cast<std::int32_t>(outcome), world));
}

}  // namespace halo::launch
