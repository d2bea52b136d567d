#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "launch/config.h"
#include "parallel/comm/communicator.h"

namespace halo::launch {

class StatusBoard;

enum class RunOutcome : std::uint8_t {
  kDone,
  kStopped,   // a signal stopped it early
  kFailed,    // a job did, and its retries
  kBadInput,  // all jobs that failed did for what they were given
};

/// Who is told how a run gets on.
struct RunListeners {
  /// A job failed on this rank, by itself or because another rank did; the process goes on.
  std::function<void(const std::string& reason, bool of_peer)> on_failure;
  StatusBoard* board = nullptr;  // on rank 0 alone
};

/// Runs a config's jobs on the ranks of `world`, each as soon as what it needs has ended and ranks are free, side by side
/// where there is room; jobs that have ended in an earlier run of the same output are passed over, those that were
/// interrupted go on. A job that fails ends with those that need it; its reason is told on standard error by rank 0, and
/// all others go on. Collective: all ranks return the same.
/// Throws InputError when a stored job differs from the config in more than may change, naming the fields, and for what can
/// be known to be wrong before any job begins; PeerFailed when a rank is lost.
[[nodiscard]] RunOutcome run_jobs(const Config& resolved, comm::Communicator& world,
                                  const std::atomic<bool>& stop,
                                  const RunListeners& listeners = {});

/// The resolved config of each job that earlier runs of an output have stored, by name.
[[nodiscard]] std::map<std::string, Config> stored_configs(const Config& config);

}  // namespace halo::launch
