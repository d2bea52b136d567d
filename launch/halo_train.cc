// The program `halo_train`: runs the jobs of a config, alone or under mpirun or srun, and goes on where an earlier run of
// the same output ended.
#include <unistd.h>

#include <glog/logging.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/progress_point.h"
#include "core/base/rng.h"
#include "launch/bench/job_bench.h"
#include "launch/config.h"
#include "launch/health/watched_rank.h"
#include "launch/jobs/drill.h"
#include "launch/jobs/dry_run.h"
#include "launch/jobs/hardware.h"
#include "launch/jobs/recent_calls.h"
#include "launch/jobs/run_checks.h"
#include "launch/jobs/run_jobs.h"
#include "launch/monitor/monitor.h"
#include "launch/program.h"
#include "launch/sweep/expand_sweep.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/mpi_communicator.h"
#include "parallel/comm/nccl_communicator.h"

namespace {

using namespace halo;
using launch::Config;

std::atomic<bool> stop_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free);

/// The first signal asks for a checkpoint and an orderly end, the second one ends the process.
void on_signal(int signal) {
  if (stop_requested.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  std::string output;
  std::string device;
  std::string monitor;  // address; empty: none
  std::string monitor_token_file;
  int bench_steps = 0;  // 0: no bench
  std::string bench_job;
  std::string machine;
  std::string trials;  // a share of the sweep's
  int trial = -1;      // to run alone; -1: none
  bool dry_run = false;
};

void add_options(launch::Command& app, Options& options) {
  app.option("--config", options.config, "The run's config, text format of halo.proto").required();
  app.option("--set", options.overrides,
             "Assign a config field: train.optimizer.lr=3e-4, job[0].train.steps=100")
      .takes("PATH=VALUE")
      .one_at_a_time();
  app.option("--output", options.output, "Folder of the run, in place of the config's");
  app.option("--device", options.device, "auto, cpu or cuda, in place of the config's")
      .one_of({"auto", "cpu", "cuda"});
  app.option("--monitor", options.monitor,
             "Serve a status page, /metrics for Prometheus and /healthz there: 8080 is "
             "127.0.0.1:8080, port 0 a free one; an address that other hosts reach needs a token")
      .takes("[IP:]PORT");
  app.option("--monitor_token_file", options.monitor_token_file,
             "File with the monitor's token, in place of the environment's HALO_MONITOR_TOKEN")
      .takes("FILE");
  app.option("--bench", options.bench_steps,
             "Measure so many steps of each training job with random weights and tokens, then end: "
             "nothing is read but the models' config.json, and the output stays as it is")
      .takes("STEPS")
      .in_range(1, 10000);
  app.option("--bench_job", options.bench_job, "With --bench: this job alone").takes("JOB");
  app.option("--machine", options.machine,
             "With --bench: plan for h100, h200 or a file (halo plan --help) instead of this "
             "machine as it measures");
  app.option(
         "--trials", options.trials,
         "Of the config's sweep the I-th of N parts alone, in a folder of its own in the output")
      .takes("I/N");
  app.option("--trial", options.trial, "One trial of the config's sweep alone, as a config without")
      .in_range(0, 1 << 20);
  app.flag(
      "--dry_run", options.dry_run,
      "Print a sweep's trials, parameters, memory a rank and FLOPs a step of each job, then end");
}

Config load_config(const Options& options) {
  Config config = launch::read_config(options.config);
  for (const std::string& assignment : options.overrides)
    launch::apply_override(config, assignment);
  if (!options.output.empty()) config.set_output(options.output);
  if (options.device == "auto") config.set_device(launch::proto::AUTO);
  if (options.device == "cpu") config.set_device(launch::proto::CPU);
  if (options.device == "cuda") config.set_device(launch::proto::CUDA);
  HALO_REQUIRE_INPUT(options.trial < 0 || options.trials.empty(),
                     "--trial and --trials exclude each other");
  if (options.trial >= 0) config = launch::trial_config(config, options.config, options.trial);
  const launch::Share share = launch::parse_share(options.trials);
  if (share.of > 1)
    config.set_output((std::filesystem::path(config.output()) / share_folder(share)).string());
  config = launch::resolve_run(config, options.config, launch::stored_configs(config), share);
  config.set_device(launch::chosen_device(config));
  return config;
}

/// Rank 0's bytes, on every rank.
std::string agreed_bytes(std::string bytes, comm::Communicator& world) {
  std::int64_t size = std::ssize(bytes);
  world.broadcast(view(&size, {1}), 0).wait();
  bytes.resize(static_cast<std::size_t>(size));
  if (size > 0)
    world.broadcast(view(reinterpret_cast<std::uint8_t*>(bytes.data()), {size}), 0).wait();
  return bytes;
}

/// What rank 0 makes of the config and of what earlier runs stored, on every rank: files may look different elsewhere for
/// a moment.
Config agreed_config(const Options& options, comm::Communicator& world) {
  Config config;
  const std::string bytes = world.rank() == 0 ? load_config(options).SerializeAsString() : "";
  HALO_REQUIRE(config.ParseFromString(agreed_bytes(bytes, world)),
               "rank 0's config cannot be read");
  return config;
}

/// Whether all ranks are on one host, which its name alone does not tell: hosts may have the same. Collective.
bool is_on_one_host(comm::Communicator& world) {
  std::string host = launch::own_host_name();
  for (const std::string& address : launch::own_addresses()) host += ' ' + address;
  auto own = static_cast<std::int64_t>(hash64(host) >> 1);
  std::vector<std::int64_t> all(static_cast<std::size_t>(world.size()));
  const std::vector<std::int64_t> counts(all.size(), 1);
  world.all_gather(view(all.data(), {world.size()}), view(&own, {1}), counts).wait();
  return std::ranges::count(all, own) == world.size();
}

int exit_code_of(launch::RunOutcome outcome) {
  switch (outcome) {
    case launch::RunOutcome::kDone:
    case launch::RunOutcome::kStopped:
      return 0;
    case launch::RunOutcome::kFailed:
      return launch::kExitFailure;
    case launch::RunOutcome::kBadInput:
      return launch::kExitBadInput;
  }
  return launch::kExitFailure;
}

/// The numbers of ranks that all training jobs that take all of them can run on are multiples of it.
int ranks_multiple(const Config& config) {
  int multiple = 1;
  for (const auto& job : config.job()) {
    if (!job.has_train() || job.ranks() > 0) continue;
    const auto& layout = job.layout();
    multiple = std::lcm(multiple, layout.pipeline() * layout.context() * layout.tensor());
  }
  return multiple;
}

/// Shows this process to a supervisor, and to a drill.
class Watch {
 public:
  explicit Watch(comm::Communicator& world)
      : drill_(launch::Drill::from_environment(world.size())), rank_(options(world)) {}

  /// Begins to keep calls there when this rank fails or hangs.
  void begin(const Config& config) {
    {
      const std::lock_guard lock(mutex_);
      output_ = config.output();
    }
    rank_.status().describe_run(ranks_multiple(config), output_ / "log");
    pass_point({"starting"});
  }
  void tell_monitor(const std::vector<launch::Address>& server, const std::string& secret) {
    rank_.tell_monitor(server, secret);
  }
  void fail(const std::exception& error, bool peer_failed) {
    rank_.fail(error.what(), peer_failed);
    if (dynamic_cast<const InputError*>(&error) == nullptr) keep_calls();
  }
  /// Of a job, after which the process goes on: it is why the run fails, if it does.
  void keep_failure(const std::string& reason, bool of_peer) {
    if (!job_failure_ || (job_failure_->second && !of_peer)) job_failure_ = {reason, of_peer};
  }
  /// No job comes any more.
  void run_ended(bool failed) {
    if (failed && job_failure_)
      rank_.fail(job_failure_->first, job_failure_->second);
    else
      rank_.tell_now();
  }

 private:
  launch::WatchedRankOptions options(comm::Communicator& world) {
    launch::WatchedRankOptions options;
    options.rank = world.rank();
    options.size = world.size();
    if (world.log() != nullptr) options.recorder = &world.log()->recorder;
    keep_ = [&world](const std::filesystem::path& output) {
      launch::keep_recent_calls(output, world.rank(), world);
    };
    options.keep_calls = [this] { keep_calls(); };
    options.then = [this, rank = world.rank()](const ProgressPoint& point) {
      if (drill_ && is_due(rank, point)) drill_->strike();
    };
    return options;
  }

  bool is_due(int rank, const ProgressPoint& point) {
    const std::lock_guard lock(drilling_);
    return drill_->is_due(rank, point);
  }
  void keep_calls() {
    const std::lock_guard lock(mutex_);
    if (!output_.empty()) keep_(output_);
  }

  std::mutex mutex_;
  std::filesystem::path output_;
  std::function<void(const std::filesystem::path&)> keep_;
  std::optional<std::pair<std::string, bool>> job_failure_;  // and whether another rank's
  std::mutex drilling_;
  std::optional<launch::Drill> drill_;
  launch::WatchedRank rank_;
};

/// On rank 0, before anything begins; nothing on others and where it is not asked for. All ranks tell it how they are.
/// Collective.
std::unique_ptr<launch::Monitor> start_monitor(const Options& options, const Config& config,
                                               comm::Communicator& world, Watch& watch) {
  const bool one_host = is_on_one_host(world);
  std::unique_ptr<launch::Monitor> monitor;
  std::string where;  // addresses, a space and the secret
  if (world.rank() == 0) {
    HALO_REQUIRE_INPUT(options.monitor_token_file.empty() || !options.monitor.empty(),
                       "--monitor_token_file: there is no --monitor that it could be for");
    if (!options.monitor.empty()) {
      const launch::MonitorOptions wanted{options.monitor, options.monitor_token_file, HALO_VERSION,
                                          world.size(), one_host};
      monitor = std::make_unique<launch::Monitor>(wanted, config);
      std::cout << "monitor: " << monitor->url() << std::endl;
      where = launch::to_string(monitor->beats_to()) + ' ' + monitor->secret();
    }
  }
  where = agreed_bytes(where, world);
  if (where.empty()) return nullptr;
  const std::size_t space = where.find(' ');
  watch.tell_monitor(launch::parse_addresses(where.substr(0, space)), where.substr(space + 1));
  return monitor;
}

/// Returns the exit code.
int run(const Options& options, comm::Communicator& world, Watch& watch) {
  if (options.dry_run) {
    if (world.rank() != 0) return 0;
    const Config config = load_config(options);
    std::cout << launch::dry_run(config, world.size());
    for (const std::string& complaint : launch::run_complaints(config))
      std::cout << "here it could not run: " << complaint << '\n';
    return 0;
  }
  const Config config = agreed_config(options, world);
  if (options.bench_steps > 0) {
    launch::bench_jobs(config, world, {options.bench_steps, options.bench_job, options.machine},
                       std::cout);
    return 0;
  }
  watch.begin(config);
  const std::unique_ptr<launch::Monitor> monitor = start_monitor(options, config, world, watch);
  launch::RunListeners listeners;
  listeners.on_failure = [&watch](const std::string& reason, bool of_peer) {
    watch.keep_failure(reason, of_peer);
  };
  if (monitor) listeners.board = &monitor->board();
  const auto outcome = launch::run_jobs(config, world, stop_requested, listeners);
  watch.run_ended(outcome == launch::RunOutcome::kFailed);
  if (monitor) monitor->end();
  return exit_code_of(outcome);
}

/// Whether, within two seconds, `poll` throws PeerFailed, or mpirun ends this rank, as it does after the first failure.
bool fails_elsewhere(const std::function<void()>& poll) {
  try {
    for (int i = 0; i < 200 && !stop_requested; ++i) {
      poll();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  } catch (const comm::PeerFailed&) {
    return true;
  }
  return stop_requested;
}

/// Whether rank 0 reports a failure: most fail on every rank, and are told once. Listens by a receive that nothing
/// answers, so that rank 0 may be anywhere.
bool first_rank_reports(comm::Communicator& world) {
  std::int32_t nothing = 0;
  const comm::Message from_first{0, view(&nothing, {1})};
  bool reports = false;
  try {
    comm::Work listening = world.exchange({}, {&from_first, 1});
    reports = fails_elsewhere([&] { listening.test(); });
    throw InputError("");  // withdraws the receive
  } catch (const Error&) {
  }
  return reports;
}

int run_on(comm::MpiSession& session, const Options& options) {
  if (session.size() > 1) comm::set_cuda_environment();
  const auto world = session.world();
  const std::string name =
      world->size() == 1 ? "halo_train" : str("halo_train: rank ", world->rank());
  const auto end = [&](const std::exception& error, int code) {
    if (world->rank() != 0 && first_rank_reports(*world)) {
      fails_elsewhere([] {});  // after rank 0
      return code;
    }
    world->abort(error.what());
    // mpirun ends the others as soon as this rank is gone; they are to note their last calls before.
    if (world->size() > 1) std::this_thread::sleep_for(std::chrono::seconds(1));
    throw;
  };
  std::optional<Watch> watch;
  const int code = launch::run_guarded(name, [&] {
    try {
      watch.emplace(*world);
      return run(options, *world, *watch);
    } catch (const comm::PeerFailed& error) {
      watch->fail(error, /*peer_failed=*/true);
      // The exit code of the first rank that ends is mpirun's: that must be the one with the failure.
      if (fails_elsewhere([] {})) return launch::kExitFailure;
      throw;
    } catch (const InputError& error) {
      if (watch) watch->fail(error, /*peer_failed=*/false);
      return end(error, launch::kExitBadInput);
    } catch (const std::exception& error) {
      if (watch) watch->fail(error, /*peer_failed=*/false);
      return end(error, launch::kExitFailure);
    }
  });
  if (code != 0 && world->size() > 1) comm::MpiSession::leave(code);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  launch::start_logging(argv[0], false);
  launch::Program app(
      "halo_train",
      "Distils a Qwen3 Transformer into HypeNet, a hybrid of softmax and lightning attention.\n"
      "Run it alone, or on N ranks: mpirun -np N halo_train --config FILE",
      "halo_train " HALO_VERSION);
  Options options;
  add_options(app, options);
  int code = 0;
  app.does([&] {
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) std::signal(signal, on_signal);
    comm::MpiSession session;
    code = run_on(session, options);
  });
  const int parsed = launch::run_program(app, argc, argv);
  return parsed != 0 ? parsed : code;
}
