#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "launch/config.h"
#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Runs a config's jobs in the order of their needs on all ranks of `world`; jobs that have ended in an earlier run of the
/// same output are passed over, the one that was interrupted goes on. Collective.
/// Throws InputError when a stored job differs from the config in more than may change, naming the fields.
/// Returns false when a signal stopped it early.
bool run_jobs(const Config& resolved, comm::Communicator& world, const std::atomic<bool>& stop);

/// The resolved config of each job that earlier runs of an output have stored, by name.
[[nodiscard]] std::map<std::string, Config> stored_configs(const Config& config);

}  // namespace halo::launch
