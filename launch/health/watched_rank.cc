#include "launch/health/watched_rank.h"

#include <array>
#include <atomic>
#include <csignal>
#include <ctime>
#include <utility>

namespace halo::launch {
namespace {

constexpr std::array kCrashes{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr int kHundredths = 200;  // hundredths of a second for the other thread to write: two beats

// Signals' handlers can reach nothing else.
std::atomic<bool> calls_asked = false;
std::atomic<bool> calls_kept = false;
static_assert(std::atomic<bool>::is_always_lock_free);
std::array<struct sigaction, kCrashes.size()> before_crash{};

void on_dump(int /*signal*/) { calls_asked = true; }

/// Nothing but waiting is safe here: the heartbeat's thread, which lives on for a moment, writes.
void on_crash(int signal) {
  calls_kept = false;
  calls_asked = true;
  const timespec hundredth{0, 10'000'000};
  for (int i = 0; i < kHundredths && !calls_kept; ++i) ::nanosleep(&hundredth, nullptr);
  for (std::size_t i = 0; i < kCrashes.size(); ++i)
    if (kCrashes[i] == signal) ::sigaction(signal, &before_crash[i], nullptr);
  std::raise(signal);  // comes when this handler has ended
}

void catch_crashes() {
  struct sigaction action {};
  action.sa_handler = on_crash;
  for (std::size_t i = 0; i < kCrashes.size(); ++i)
    ::sigaction(kCrashes[i], &action, &before_crash[i]);
}

void leave_crashes() {
  for (std::size_t i = 0; i < kCrashes.size(); ++i)
    ::sigaction(kCrashes[i], &before_crash[i], nullptr);
}

}  // namespace

WatchedRank::WatchedRank(WatchedRankOptions options)
    : options_(std::move(options)),
      status_(options_.rank, options_.size, options_.recorder),
      supervisor_(HeartbeatClient::from_environment([this] { return beat(); })) {
  std::signal(SIGUSR2, on_dump);
  if (supervisor_ != nullptr) catch_crashes();
  listen_to_points(this);
}

WatchedRank::~WatchedRank() {
  status_.on_point({"ended"});
  listen_to_points(nullptr);
  if (supervisor_ != nullptr) leave_crashes();
  supervisor_.reset();  // sends that
  monitor_.reset();
}

void WatchedRank::on_point(const ProgressPoint& point) {
  if (std::this_thread::get_id() == training_thread_) status_.on_point(point);
  if (options_.then) options_.then(point);
}

void WatchedRank::tell_monitor(const std::vector<Address>& server, const std::string& secret) {
  HeartbeatClientOptions options;
  options.server = server;
  options.secret = secret;
  options.beat = [this] { return beat(); };
  monitor_ = std::make_unique<HeartbeatClient>(std::move(options));
}

void WatchedRank::fail(const std::string& reason, bool peer_failed) {
  status_.fail(reason, peer_failed);
  tell_now();
}

void WatchedRank::tell_now() {
  if (supervisor_ != nullptr) supervisor_->send_now();
  if (monitor_ != nullptr) monitor_->send_now();
}

proto::Heartbeat WatchedRank::beat() const {
  if (calls_asked.exchange(false)) {
    if (options_.keep_calls) options_.keep_calls();
    calls_kept = true;
  }
  return status_.beat();
}

}  // namespace halo::launch
