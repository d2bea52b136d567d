#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/config_check.h"

namespace halo::launch {
namespace {

constexpr int kMaxJobs = 1000;
constexpr int kMaxJobsOfTrials = 10000;
/// Beside the jobs' folders.
constexpr std::array<std::string_view, 4> kTaken{"journal", "log", "products", "rungs"};

/// A sweep names the jobs of its trials with an @, which people's names have not.
bool is_file_name(std::string_view name, bool of_sweep) {
  const auto safe = [of_sweep](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (of_sweep && c == '@');
  };
  return !name.empty() && name.size() <= 64 && name.front() != '-' &&
         std::ranges::all_of(name, safe);
}

void check_names(const Config& config) {
  HALO_REQUIRE_INPUT(config.job_size() > 0, "the config has no job");
  const bool of_sweep = config.trial_size() > 0;
  const int most = of_sweep ? kMaxJobsOfTrials : kMaxJobs;
  HALO_REQUIRE_INPUT(config.job_size() <= most,
                     str(config.job_size(), " jobs are more than ", most));
  std::set<std::string> names;
  for (int i = 0; i < config.job_size(); ++i) {
    const std::string& name = config.job(i).name();
    HALO_REQUIRE_INPUT(is_file_name(name, of_sweep),
                       str("job[", i, "].name is \"", name.substr(0, 100),
                           "\": it must be up to 64 letters, digits, _ and -"));
    HALO_REQUIRE_INPUT(
        std::ranges::find(kTaken, name) == kTaken.end(),
        str("job[", i, "].name is \"", name, "\": the run's folder has that for itself"));
    HALO_REQUIRE_INPUT(names.insert(name).second, str("two jobs are named ", name));
  }
  for (const proto::Job& job : config.job()) {
    for (const std::string& need : job.needs()) {
      if (names.contains(need)) continue;
      const std::string nearest =
          nearest_name(need, std::vector<std::string>(names.begin(), names.end()));
      throw InputError(str("job[", job.name(), "].needs: there is no job \"", need, '"',
                           nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?")));
    }
  }
}

/// A cycle among the jobs that are not `done`: each of them needs another one of them.
std::string spell_cycle(const Config& config, const std::vector<bool>& done) {
  int at = static_cast<int>(std::ranges::find(done, false) - done.begin());
  std::vector<int> trail;
  while (std::ranges::find(trail, at) == trail.end()) {
    trail.push_back(at);
    for (const std::string& need : config.job(at).needs()) {
      const int next = find_job(config, need);
      if (done[static_cast<std::size_t>(next)]) continue;
      at = next;
      break;
    }
  }
  std::string text;
  for (auto job = std::ranges::find(trail, at); job != trail.end(); ++job) {
    text += config.job(*job).name() + " needs ";
  }
  return text + config.job(at).name();
}

}  // namespace

int find_job(const Config& config, std::string_view name) {
  for (int i = 0; i < config.job_size(); ++i) {
    if (config.job(i).name() == name) return i;
  }
  return -1;
}

std::string_view referenced_job(std::string_view reference) {
  return reference.starts_with("job:") ? reference.substr(4) : std::string_view();
}

std::vector<int> job_order(const Config& config) {
  check_names(config);
  const auto jobs = static_cast<std::size_t>(config.job_size());
  std::map<std::string_view, std::size_t> places;
  for (std::size_t i = 0; i < jobs; ++i) places[config.job(static_cast<int>(i)).name()] = i;
  std::vector<std::set<std::size_t>> needs(jobs);
  std::vector<std::vector<std::size_t>> needed_by(jobs);
  for (std::size_t i = 0; i < jobs; ++i) {
    for (const std::string& need : config.job(static_cast<int>(i)).needs()) {
      if (needs[i].insert(places.at(need)).second) needed_by[places.at(need)].push_back(i);
    }
  }
  std::vector<int> order;
  std::vector<bool> done(jobs, false);
  std::set<std::size_t> ready;
  for (std::size_t i = 0; i < jobs; ++i)
    if (needs[i].empty()) ready.insert(i);
  while (order.size() < jobs) {
    HALO_REQUIRE_INPUT(!ready.empty(),
                       str("jobs wait for each other: ", spell_cycle(config, done)));
    const std::size_t next = *ready.begin();
    ready.erase(ready.begin());
    done[next] = true;
    order.push_back(static_cast<int>(next));
    for (const std::size_t i : needed_by[next]) {
      needs[i].erase(next);
      if (needs[i].empty()) ready.insert(i);
    }
  }
  return order;
}

}  // namespace halo::launch
