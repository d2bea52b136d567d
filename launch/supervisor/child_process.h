#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/supervisor/supervision.h"

namespace halo::launch {

/// A command that runs in a process group of its own, without standard input.
class ChildProcess {
 public:
  /// `environment` comes on top of this process's. With `quiet` what it writes is thrown away. A command that cannot be
  /// run ends with code 127, having said why on standard error. Throws Error when no process can be made.
  ChildProcess(const std::vector<std::string>& command,
               const std::map<std::string, std::string>& environment, bool quiet = false);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();  // SIGKILL to its group when it still runs

  /// How it ended, once it has.
  [[nodiscard]] std::optional<Ending> poll();
  /// To the command itself; nothing once it has ended.
  void signal(int number) const;
  void signal_group(int number) const;

 private:
  int pid_ = -1;
  std::optional<Ending> ending_;
};

/// Processes of this user on this host that were started with `entry`, "NAME=value", in their environment: all of a run,
/// whoever their parents are by now.
[[nodiscard]] std::vector<int> processes_with(const std::string& entry);
/// Whether a process was stopped by a signal: one that takes no other signal but SIGKILL and SIGCONT.
[[nodiscard]] bool is_stopped(int pid);

}  // namespace halo::launch
