#include "launch/supervisor/launch_command.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "launch/health/address.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

/// -host and --host are one option to mpirun.
std::string option_name(const std::string& word) {
  if (word.size() < 2 || word.front() != '-') return "";
  return word.substr(word.starts_with("--") ? 2 : 1);
}

int number_of(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

bool contains(const std::vector<std::string>& all, const std::string& one) {
  return std::ranges::find(all, one) != all.end();
}

bool is_this_host(const std::string& name) {
  const std::string own = own_host_name();
  if (name == "localhost" || name == own || name == own.substr(0, own.find('.'))) return true;
  return contains(own_addresses(), name);
}

}  // namespace

LaunchCommand::LaunchCommand(std::vector<std::string> words) : words_(std::move(words)) {
  HALO_REQUIRE_INPUT(!words_.empty(),
                     "no command: halo_launch [OPTIONS] -- mpirun -np 4 halo_train --config FILE");
  const std::string launcher = fs::path(words_.front()).filename();
  is_mpirun_ =
      Names{"mpirun", "mpiexec", "orterun", "mpirun.openmpi", "mpiexec.openmpi"}.contains(launcher);
  is_srun_ = launcher == "srun";
  const auto program = std::ranges::find_if(
      words_, [](const std::string& word) { return fs::path(word).filename() == "halo_train"; });
  program_ = static_cast<std::size_t>(program - words_.begin());
  if (is_mpirun_) read_mpirun_options();
}

void LaunchCommand::read_mpirun_options() {
  for (std::size_t i = 1; i + 1 < program_; ++i) {
    const std::string name = option_name(words_[i]);
    if (Names{"np", "n", "c"}.contains(name) && number_of(words_[i + 1]) > 0) {
      ranks_at_ = i + 1;
      ranks_ = number_of(words_[i + 1]);
    }
    if (Names{"H", "host"}.contains(name)) {
      hosts_at_ = i + 1;
      read_host_list(words_[i + 1]);
    }
    if (Names{"hostfile", "machinefile"}.contains(name)) {
      hostfile_at_ = i + 1;
      read_hostfile(words_[i + 1]);
    }
  }
}

void LaunchCommand::read_host_list(const std::string& list) {
  for (const std::string& part : split(list, ',')) {
    if (part.empty()) continue;
    const std::size_t colon = part.rfind(':');
    Host host{part.substr(0, colon), 1, part};
    if (colon != std::string::npos) host.slots = std::max(1, number_of(part.substr(colon + 1)));
    hosts_.push_back(host);
  }
}

void LaunchCommand::read_hostfile(const std::string& path) {
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    Host host;
    if (!(words >> host.name)) continue;
    host.text = line;
    for (std::string word; words >> word;)
      if (word.starts_with("slots=")) host.slots = std::max(1, number_of(word.substr(6)));
    hosts_.push_back(host);
  }
}

bool LaunchCommand::may_reach_other_hosts() const {
  if (is_srun_) return true;
  if (!is_mpirun_) return false;
  // Where mpirun takes its hosts from by itself.
  for (const char* const variable : {"SLURM_JOB_NODELIST", "SLURM_NODELIST", "PBS_NODEFILE",
                                     "LSB_HOSTS", "PE_HOSTFILE", "OMPI_MCA_orte_default_hostfile"})
    if (std::getenv(variable) != nullptr) return true;
  if (program_ == words_.size()) return true;  // not understood
  return !std::ranges::all_of(hosts_, [](const Host& host) { return is_this_host(host.name); });
}

std::vector<std::string> LaunchCommand::hosts() const {
  std::vector<std::string> names;
  if (program_ == words_.size() || contains(words_, ":")) return names;
  for (const Host& host : hosts_)
    if (!contains(names, host.name)) names.push_back(host.name);
  return names;
}

int LaunchCommand::remaining_ranks(const std::vector<std::string>& gone, int ranks_multiple) const {
  std::int64_t all = 0, kept = 0;
  for (const Host& host : hosts_) {
    all += host.slots;
    if (!contains(gone, host.name)) kept += host.slots;
  }
  const std::int64_t ranks = ranks_ > 0 ? ranks_ : all;
  const std::int64_t remaining = ranks * kept / all / ranks_multiple * ranks_multiple;
  HALO_REQUIRE(remaining > 0, str("of ", ranks, " ranks on ", hosts().size(),
                                  " hosts too few remain on ", hosts().size() - gone.size(),
                                  ": the layouts need a multiple of ", ranks_multiple));
  return static_cast<int>(remaining);
}

std::vector<std::string> LaunchCommand::start(const std::vector<std::string>& names,
                                              const std::vector<std::string>& gone,
                                              int ranks_multiple, const fs::path& hostfile) const {
  std::vector<std::string> words = words_;
  std::vector<std::string> added;  // after mpirun's name
  if (!gone.empty()) {
    const std::string ranks = std::to_string(remaining_ranks(gone, ranks_multiple));
    if (ranks_at_ > 0)
      words[ranks_at_] = ranks;
    else
      added = {"-np", ranks};
    std::string list, lines;
    for (const Host& host : hosts_) {
      if (contains(gone, host.name)) continue;
      list += (list.empty() ? "" : ",") + host.text;
      lines += host.text + '\n';
    }
    if (hosts_at_ > 0) words[hosts_at_] = list;
    if (hostfile_at_ > 0) {
      write_file_atomically(hostfile, lines);
      words[hostfile_at_] = hostfile;
    }
  }
  // On this host the environment is inherited.
  if (is_mpirun_ && may_reach_other_hosts())
    for (const std::string& name : names) added.insert(added.end(), {"-x", name});
  words.insert(words.begin() + 1, added.begin(), added.end());
  return words;
}

std::vector<std::string> LaunchCommand::probe(const std::string& host) const {
  static const Names kPlacing{"np",       "n",      "c",           "H",       "host",
                              "hostfile", "map-by", "machinefile", "bind-to", "rank-by",
                              "npernode", "N",      "npersocket"};
  std::vector<std::string> words{words_.front()};
  for (std::size_t i = 1; i < program_; ++i) {
    if (kPlacing.contains(option_name(words_[i])))
      ++i;  // and its value
    else
      words.push_back(words_[i]);
  }
  words.insert(words.end(), {"-np", "1", "--host", host, "true"});
  return words;
}

}  // namespace halo::launch
