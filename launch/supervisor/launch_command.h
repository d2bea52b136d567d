#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace halo::launch {

/// The command that starts a run's ranks, as the user gave it: mpirun's is understood, so that ranks on other hosts get the
/// environment and hosts can be left out; others are taken as they are.
class LaunchCommand {
 public:
  /// Throws InputError for an empty command, and for a list of hosts that cannot be read.
  explicit LaunchCommand(std::vector<std::string> words);

  /// Whether ranks may run elsewhere, as far as the command and the batch system's environment tell.
  [[nodiscard]] bool may_reach_other_hosts() const;
  /// The hosts that mpirun is given, each once, in order; empty where none are, or where the command is too special to be
  /// changed (several programs at once).
  [[nodiscard]] std::vector<std::string> hosts() const;

  /// The command with `names` of the environment passed to all ranks, and with the ranks that remain without the hosts
  /// `gone`: a multiple of `ranks_multiple`. A hostfile without them is written to `hostfile` when one is needed.
  /// Throws Error when too few ranks would remain.
  [[nodiscard]] std::vector<std::string> start(const std::vector<std::string>& names,
                                               const std::vector<std::string>& gone,
                                               int ranks_multiple,
                                               const std::filesystem::path& hostfile) const;
  /// Runs `true` on one host by the same mpirun: whether the host can be reached.
  [[nodiscard]] std::vector<std::string> probe(const std::string& host) const;

 private:
  struct Host {
    std::string name;
    int slots = 1;
    std::string text;  // as in the list or file
  };
  void read_mpirun_options();
  void read_host_list(const std::string& list);
  void read_hostfile(const std::string& path);
  [[nodiscard]] int remaining_ranks(const std::vector<std::string>& gone, int ranks_multiple) const;

  std::vector<std::string> words_;
  bool is_mpirun_ = false, is_srun_ = false;
  std::size_t program_ = 0;  // the first word that is not mpirun's
  // Places of options' values in words_; 0: not given.
  std::size_t ranks_at_ = 0, hosts_at_ = 0, hostfile_at_ = 0;
  int ranks_ = 0;
  std::vector<Host> hosts_;
};

}  // namespace halo::launch
