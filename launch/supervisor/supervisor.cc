#include "launch/supervisor/supervisor.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/health/address.h"
#include "launch/health/heartbeat_server.h"
#include "launch/health/proof.h"
#include "launch/supervisor/child_process.h"
#include "launch/supervisor/launch_command.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSecretDigits = 64;  // 256 bits
constexpr double kLook = 0.2;              // seconds between looks at the run
constexpr double kToDump = 2;              // for ranks to write down their last calls
constexpr double kToEnd = 5;               // for a run to end by SIGTERM
constexpr double kToProbe = 12;            // for a host to answer

class Supervisor {
 public:
  Supervisor(const std::vector<std::string>& words, const SupervisionLimits& limits,
             std::ostream& out)
      : command_(words), supervision_(limits), out_(out) {
    sigemptyset(&signals_);
    for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGCHLD}) sigaddset(&signals_, number);
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }

  int run() {
    for (;; ++restarts_) {
      const Supervision::Next next = supervision_.ended(run_once());
      if (!next.message.empty()) say(next.message);
      if (!next.restarts) return next.code;
      pause(next.after);
      if (stop_signals_ == 0) find_gone_hosts();
      if (stop_signals_ > 0) {
        say("stopped as asked; the same command goes on from the last checkpoint");
        return 0;
      }
    }
  }

 private:
  Ending run_once();
  void look_after();
  void end(ChildProcess& child, const std::string& reason);
  void wait_for(ChildProcess& child, double seconds);
  void keep_report(const std::string& reason);
  void kill_rest() const;
  void find_gone_hosts();
  void take_signals(double seconds, const ChildProcess* child);
  void pause(double seconds);
  [[nodiscard]] std::map<std::string, std::string> environment() const;
  void say(const std::string& line) { out_ << "halo_launch: " << line << std::endl; }

  LaunchCommand command_;
  Supervision supervision_;
  std::ostream& out_;
  sigset_t signals_{};
  int stop_signals_ = 0;
  int restarts_ = 0;
  int ranks_multiple_ = 1;
  std::vector<std::string> gone_;  // hosts
  std::string secret_;             // of this start, as the server
  std::unique_ptr<HeartbeatServer> server_;
};

std::map<std::string, std::string> Supervisor::environment() const {
  std::vector<Address> addresses;
  if (command_.may_reach_other_hosts())
    for (const std::string& host : own_addresses()) addresses.push_back({host, server_->port()});
  else
    addresses.push_back({"127.0.0.1", server_->port()});
  return {{kSupervisorVariable, to_string(addresses)},
          {kSecretVariable, secret_},
          {kRestartsVariable, std::to_string(restarts_)}};
}

/// One start of the run, to its end. Each has a secret of its own, so that ranks of an earlier one that live on somewhere
/// are strangers.
Ending Supervisor::run_once() {
  HeartbeatServerOptions options;
  options.loopback = !command_.may_reach_other_hosts();
  options.secret = secret_ = random_hex(kSecretDigits);
  server_ = std::make_unique<HeartbeatServer>(options);
  const fs::path hostfile = fs::temp_directory_path() / str("halo_launch_", ::getpid(), "_hosts");
  supervision_.began(steady_seconds());
  ChildProcess child(command_.start({kSupervisorVariable, kSecretVariable, kRestartsVariable},
                                    gone_, ranks_multiple_, hostfile),
                     environment());
  while (!child.poll()) {
    take_signals(kLook, &child);
    look_after();
    if (const auto reason = supervision_.tick(steady_seconds())) end(child, *reason);
  }
  look_after();  // the last words
  kill_rest();
  std::error_code ignored;
  fs::remove(hostfile, ignored);
  return *child.poll();
}

void Supervisor::look_after() {
  for (const SeenBeat& seen : server_->latest()) {
    supervision_.beat(seen.beat, seen.at, seen.gone_at);
    ranks_multiple_ = seen.beat.ranks_multiple();
  }
  if (const auto line = supervision_.slow_rank(steady_seconds())) say(*line);
}

void Supervisor::end(ChildProcess& child, const std::string& reason) {
  say(reason + "; the run is ended");
  out_ << supervision_.table().text(steady_seconds()) << std::flush;
  if (!supervision_.table().ranks().empty()) {
    child.signal(SIGUSR2);  // mpirun passes it on: ranks write down their last calls
    wait_for(child, kToDump);
    keep_report(reason);
  }
  // A rank that was stopped would keep mpirun waiting.
  for (const int pid : processes_with(str(kSecretVariable, '=', secret_)))
    if (is_stopped(pid)) ::kill(pid, SIGKILL);
  child.signal(SIGTERM);
  wait_for(child, kToEnd);
  child.signal_group(SIGKILL);
}

/// For its end, but no longer than that.
void Supervisor::wait_for(ChildProcess& child, double seconds) {
  const double begin = steady_seconds();
  while (!child.poll() && steady_seconds() - begin < seconds) take_signals(kLook, nullptr);
}

/// In the run's log, if a rank has told where that is.
void Supervisor::keep_report(const std::string& reason) {
  const RankTable& table = supervision_.table();
  const fs::path log = table.ranks().begin()->second.beat.log_folder();
  if (log.empty()) return;
  const fs::path report = log / str("hang_", std::time(nullptr), ".txt");
  try {
    fs::create_directories(log);
    write_file_atomically(
        report, str(reason, '\n', table.text(steady_seconds()), '\n', table.last_calls()));
    say("who waited for whom: " + report.string());
  } catch (const std::exception& error) {
    say(str("no report: ", error.what()));
  }
}

/// What is left of a run whose launcher has gone, on this host. Ranks on others end by mpirun's daemons there.
void Supervisor::kill_rest() const {
  for (int i = 0; i < 20; ++i) {
    const std::vector<int> rest = processes_with(str(kSecretVariable, '=', secret_));
    if (rest.empty()) return;
    // They may be about to end by themselves.
    if (i >= 5)
      for (const int pid : rest) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

/// Asks all hosts again, so that one that has come back takes part again.
void Supervisor::find_gone_hosts() {
  const std::vector<std::string> hosts = command_.hosts();
  if (hosts.size() < 2) return;
  std::vector<std::unique_ptr<ChildProcess>> probes;
  for (const std::string& host : hosts)
    probes.push_back(std::make_unique<ChildProcess>(command_.probe(host),
                                                    std::map<std::string, std::string>(),
                                                    /*quiet=*/true));
  std::vector<std::string> gone;
  const double begin = steady_seconds();
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    while (!probes[i]->poll() && steady_seconds() - begin < kToProbe) take_signals(kLook, nullptr);
    const auto ending = probes[i]->poll();
    if (!ending || !ending->is_good()) gone.push_back(hosts[i]);
  }
  if (gone.size() == hosts.size()) gone.clear();  // so mpirun can say what is wrong
  for (const std::string& host : gone) say("host " + host + " does not answer: it is left out");
  for (const std::string& host : gone_)
    if (std::ranges::find(gone, host) == gone.end()) say("host " + host + " is back");
  gone_ = gone;
}

/// Waits for at most `seconds`, until a signal comes. The first that asks to stop is passed on to the ranks, who save a
/// checkpoint; the second ends the run.
void Supervisor::take_signals(double seconds, const ChildProcess* child) {
  timespec time{};
  time.tv_nsec = static_cast<long>(seconds * 1e9);
  const int number = ::sigtimedwait(&signals_, nullptr, &time);
  if (number < 0 || number == SIGCHLD) return;
  supervision_.asked_to_stop();
  ++stop_signals_;
  if (child == nullptr) return;
  if (stop_signals_ == 1) say("asked to stop: the run saves a checkpoint");
  child->signal(stop_signals_ == 1 ? SIGUSR1 : SIGTERM);
}

void Supervisor::pause(double seconds) {
  const double end = steady_seconds() + seconds;
  while (stop_signals_ == 0 && steady_seconds() < end)
    take_signals(std::min(kLook, std::max(0.0, end - steady_seconds())), nullptr);
}

}  // namespace

int supervise(const std::vector<std::string>& command, const SupervisionLimits& limits,
              std::ostream& out) {
  return Supervisor(command, limits, out).run();
}

}  // namespace halo::launch
