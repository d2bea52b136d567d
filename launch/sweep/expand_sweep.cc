#include "launch/sweep/expand_sweep.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/sha256.h"
#include "core/base/text.h"
#include "launch/config_check.h"
#include "launch/sweep/draw_trials.h"
#include "launch/sweep/halving.h"
#include "launch/sweep/how_fields.h"
#include "launch/sweep/job_references.h"
#include "launch/sweep/objective.h"

namespace halo::launch {
namespace {

constexpr std::size_t kHashDigits = 10;

template <class Values>
std::string describe(const proto::Sweep& sweep, int trial, const Values& values) {
  std::string text = str("trial ", trial, " (");
  for (int p = 0; p < sweep.parameter_size(); ++p)
    text += str(p == 0 ? "" : ", ", sweep.parameter(p).path(), '=', *(values.begin() + p));
  return text + ')';
}

Config assigned(const Config& config, const std::vector<std::string>& values) {
  Config trial = config;
  trial.clear_sweep();
  for (int p = 0; p < config.sweep().parameter_size(); ++p) {
    const proto::Parameter& parameter = config.sweep().parameter(p);
    for (const std::string& text : assignments(parameter, values[static_cast<std::size_t>(p)])) {
      try {
        assign(trial, text);
      } catch (const InputError& error) {
        throw InputError(
            str("sweep.parameter[", parameter.path(), "]: ", text, ": ", error.what()));
      }
    }
  }
  return trial;
}

/// Trials run in one run: what is the whole run's cannot differ between them.
void require_same_run(const Config& config, const Config& trial) {
  const auto rest = [](Config whole) {
    whole.clear_job();
    whole.clear_sweep();
    whole.clear_seed();
    whole.clear_precision();
    whole.clear_layout();
    return whole;
  };
  const auto changes = changes_of(rest(config), rest(trial));
  HALO_REQUIRE_INPUT(changes.empty(), str("sweep: ", changes.empty() ? "" : changes.front().path,
                                          " is of the whole run and cannot differ between trials"));
  HALO_REQUIRE_INPUT(config.job_size() == trial.job_size(), "sweep: a trial has other jobs");
  for (int i = 0; i < config.job_size(); ++i)
    HALO_REQUIRE_INPUT(
        config.job(i).name() == trial.job(i).name(),
        str("sweep: job ", config.job(i).name(), " cannot have another name in a ", "trial"));
}

/// A trial by itself, resolved.
struct Alone {
  std::vector<std::string> values;
  Config config;
  std::vector<int> jobs;           // that its objective needs, in order
  std::map<int, std::string> sum;  // of each of them, the hash of what it computes
};

/// What several trials have in common is found by what their jobs compute.
class Expansion {
 public:
  Expansion(const Config& config, std::string_view name,
            const std::map<std::string, Config>& stored)
      : config_(config) {
    const auto drawn = draw_trials(config.sweep());
    objective_ = objective_job(config);
    for (std::size_t t = 0; t < drawn.size(); ++t) {
      Alone trial{drawn[t], assigned(config, drawn[t]), {}, {}};
      try {
        require_same_run(config, trial.config);
        trial.config = resolve(trial.config, name, stored);
        check_objective(config.sweep(), trial.config.job(objective_));
      } catch (const InputError& error) {
        throw InputError(
            str(error.what(), ", in ", describe(config.sweep(), static_cast<int>(t), drawn[t])));
      }
      trials_.push_back(std::move(trial));
    }
    note_references();
    for (Alone& trial : trials_) choose_jobs(trial);
    note_swept();
    for (Alone& trial : trials_) add_sums(trial);
  }

  [[nodiscard]] Config run_of(const Share& share) {
    if (share.of > 1) refuse_exports();
    Config run = trials_.front().config;
    run.clear_job();
    run.set_seed(config_.seed());
    run.set_precision(config_.precision());
    if (config_.has_layout()) *run.mutable_layout() = config_.layout();
    if (!config_.has_layout()) run.clear_layout();
    *run.mutable_sweep() = config_.sweep();
    const auto all = static_cast<std::int64_t>(trials_.size());
    const auto begin = static_cast<std::size_t>(all * (share.index - 1) / share.of),
               end = static_cast<std::size_t>(all * share.index / share.of);
    HALO_REQUIRE_INPUT(begin < end, str("share ", share.index, " of ", share.of, " has none of ",
                                        all, " trials: make fewer shares"));
    for (std::size_t t = begin; t < end; ++t) add_trial(static_cast<int>(t), run);
    for (const proto::Job& job : config_.job())
      if (job.has_report() && share.of == 1) add_report(job, run);
    return run;
  }

 private:
  /// Of each job, the jobs that it reads in any trial.
  void note_references() {
    reads_.resize(static_cast<std::size_t>(config_.job_size()));
    for (const Alone& trial : trials_) {
      for (int i = 0; i < config_.job_size(); ++i)
        for (const std::string& job : jobs_read(trial.config.job(i)))
          reads_[static_cast<std::size_t>(i)].insert(job);
    }
  }

  /// What a job of a trial needs, those that export what it reads by its path among them.
  [[nodiscard]] std::vector<std::string> needs_of(const Config& trial, int index) const {
    const proto::Job& job = trial.job(index);
    const std::set<std::string>& ever_read = reads_[static_cast<std::size_t>(index)];
    const std::set<std::string> read = jobs_read(job);
    std::vector<std::string> needs(job.needs().begin(), job.needs().end());
    std::erase_if(needs, [&](const std::string& need) {
      return ever_read.contains(need) && !read.contains(need);
    });
    for (const std::string& model : models_read(job)) {
      for (const proto::Job& other : trial.job()) {
        const bool writes = other.has_export_() && other.name() != job.name() &&
                            referenced_job(model).empty() &&
                            is_same_file(other.export_().to(), model);
        if (writes && std::ranges::find(needs, other.name()) == needs.end())
          needs.push_back(other.name());
      }
    }
    return needs;
  }

  void choose_jobs(Alone& trial) const {
    std::vector<int> pending{objective_};
    std::set<int> chosen{objective_};
    while (!pending.empty()) {
      const int index = pending.back();
      pending.pop_back();
      const std::vector<std::string> needs = needs_of(trial.config, index);
      trial.config.mutable_job(index)->mutable_needs()->Assign(needs.begin(), needs.end());
      for (const std::string& need : needs)
        if (const int i = find_job(trial.config, need); chosen.insert(i).second)
          pending.push_back(i);
    }
    for (const int i : job_order(trial.config))
      if (chosen.contains(i)) trial.jobs.push_back(i);
  }

  /// Which fields of kHowFields trials differ in.
  void note_swept() {
    std::map<std::pair<int, std::string_view>, std::string> values;
    for (Alone& trial : trials_) {
      for (const int i : trial.jobs) {
        for (const std::string_view path : kHowFields) {
          const std::string value = field_text(trial.config.job(i), path);
          if (values.emplace(std::pair(i, path), value).first->second != value)
            swept_.emplace(i, path);
        }
      }
    }
  }

  /// Where trials differ in such a field it counts, in all of them: whichever comes first, none takes another's result.
  void clear_what_computes_nothing(proto::Job& job, int index) const {
    for (const std::string_view path : kHowFields)
      if (!swept_.contains({index, path})) clear_field(job, path);
  }

  /// A share knows its own trials alone: it would write over models of another's, or take them for its own.
  void refuse_exports() const {
    for (const Alone& trial : trials_) {
      for (const int i : trial.jobs) {
        const proto::Job& job = trial.config.job(i);
        HALO_REQUIRE_INPUT(
            !job.has_export_(),
            str("--trials: every share would write ", job.export_().to(), ", by job ", job.name(),
                ": read the training job itself, as \"job:NAME\", in place of what is exported, or "
                "run all trials in one run"));
      }
    }
  }

  void add_sums(Alone& trial) {
    std::map<std::string, std::string> by_name;
    for (const int i : trial.jobs) {
      proto::Job content = trial.config.job(i);
      std::set<std::string> needs;
      for (const std::string& need : content.needs()) needs.insert(by_name.at(need));
      content.mutable_needs()->Assign(needs.begin(), needs.end());
      rename_jobs_read(content, by_name);
      clear_what_computes_nothing(content, i);
      Config text;
      *text.add_job() = content;  // with its name: each job stays apart from those of other names
      trial.sum[i] = sha256_hex(to_text(text));
      by_name[content.name()] = trial.sum[i];
      variants_[i].insert(trial.sum[i]);
    }
  }

  [[nodiscard]] std::string name_of(const Alone& trial, int job) {
    const std::string& name = config_.job(job).name();
    const std::string& sum = trial.sum.at(job);
    if (variants_.at(job).size() == 1) return name;
    const std::string full = str(name, '@', sum.substr(0, kHashDigits));
    const auto [known, is_new] = sum_of_.emplace(full, sum);
    HALO_REQUIRE(is_new || known->second == sum, str("two jobs would be named ", full));
    return full;
  }

  void add_trial(int number, Config& run) {
    const Alone& trial = trials_[static_cast<std::size_t>(number)];
    std::map<std::string, std::string> names;
    for (const int i : trial.jobs) {
      proto::Job job = trial.config.job(i);
      const std::string name = name_of(trial, i);
      names[job.name()] = name;
      job.set_name(name);
      if (!added_.insert(name).second) continue;
      for (std::string& need : *job.mutable_needs()) need = names.at(need);
      rename_jobs_read(job, names);
      *run.add_job() = job;
    }
    proto::Trial& row = *run.add_trial();
    row.set_number(number);
    row.mutable_value()->Assign(trial.values.begin(), trial.values.end());
    row.set_job(names.at(config_.job(objective_).name()));
  }

  static void add_report(const proto::Job& job, Config& run) {
    proto::Job report = job;
    report.clear_needs();  // it comes after all jobs before it
    *run.add_job() = report;
  }

  const Config& config_;
  int objective_ = 0;
  std::vector<Alone> trials_;
  std::vector<std::set<std::string>> reads_;          // by job
  std::set<std::pair<int, std::string_view>> swept_;  // of a job, fields of kHow
  std::map<int, std::set<std::string>> variants_;     // of a job, their sums
  std::map<std::string, std::string> sum_of_;         // by name
  std::set<std::string> added_;
};

/// Trials that export to one folder would write over each other.
void require_exports_apart(const Config& run) {
  std::map<std::string, std::string> by_folder;
  for (const proto::Job& job : run.job()) {
    if (!job.has_export_()) continue;
    const auto [known, is_new] = by_folder.emplace(job.export_().to(), job.name());
    HALO_REQUIRE_INPUT(is_new, str("sweep: jobs ", known->second, " and ", job.name(),
                                   " would both write ", job.export_().to(),
                                   ": read the training job itself, as \"job:NAME\", in place of "
                                   "what is exported"));
  }
}

}  // namespace

Share parse_share(std::string_view text) {
  if (text.empty()) return {};
  Share share;
  const std::size_t slash = std::min(text.find('/'), text.size());
  const auto number = [](std::string_view part, int& value) {
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && rest == part.data() + part.size();
  };
  const bool ok = slash < text.size() && number(text.substr(0, slash), share.index) &&
                  number(text.substr(slash + 1), share.of) && share.index >= 1 &&
                  share.index <= share.of;
  HALO_REQUIRE_INPUT(ok, str("--trials is \"", text.substr(0, 100),
                             "\": it must be I/N, the I-th of N parts, such as 2/8"));
  return share;
}

std::string share_folder(const Share& share) {
  return share.of == 1 ? "" : str("share_", share.index, "_of_", share.of);
}

Config resolve_run(const Config& config, std::string_view name,
                   const std::map<std::string, Config>& stored, const Share& share) {
  HALO_REQUIRE_INPUT(config.trial_size() == 0,
                     str(name, ": trial: trials are made from a sweep, not given"));
  if (!config.has_sweep()) {
    HALO_REQUIRE_INPUT(share.of == 1, str(name, ": --trials: the config has no sweep"));
    return resolve(config, name, stored);
  }
  HALO_REQUIRE_INPUT(
      share.of == 1 || config.sweep().strategy() != proto::Sweep::SUCCESSIVE_HALVING,
      str(name,
          ": --trials: SUCCESSIVE_HALVING compares all trials with each other: run them in "
          "one run"));
  Config run;
  try {
    (void)job_order(config);
    run = Expansion(config, name, stored).run_of(share);
    require_exports_apart(run);
    check_halving(run);
  } catch (const InputError& error) {
    const std::string text = error.what();
    throw InputError(text.starts_with(name) ? text : str(name, ": ", text));
  }
  return resolve(run, name);
}

std::string trial_of_job(const Config& run, const std::string& job) {
  if (job.find('@') == std::string::npos) return "";
  for (const proto::Trial& trial : run.trial()) {
    std::vector<std::string> pending{trial.job()};
    std::set<std::string> seen;
    while (!pending.empty()) {
      const std::string name = pending.back();
      pending.pop_back();
      if (name == job) return describe(run.sweep(), trial.number(), trial.value());
      const int at = find_job(run, name);
      if (at < 0 || !seen.insert(name).second) continue;
      const auto& needs = run.job(at).needs();
      pending.insert(pending.end(), needs.begin(), needs.end());
    }
  }
  return "";
}

Config trial_config(const Config& config, std::string_view name, int trial) {
  HALO_REQUIRE_INPUT(config.has_sweep(), str(name, ": --trial: the config has no sweep"));
  try {
    const auto drawn = draw_trials(config.sweep());
    HALO_REQUIRE_INPUT(trial >= 0 && trial < std::ssize(drawn),
                       str("--trial is ", trial, ": there are trials 0 to ", drawn.size() - 1));
    return assigned(config, drawn[static_cast<std::size_t>(trial)]);
  } catch (const InputError& error) {
    throw InputError(str(name, ": ", error.what()));
  }
}

}  // namespace halo::launch
