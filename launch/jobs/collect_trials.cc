#include "launch/jobs/collect_trials.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/config_check.h"
#include "launch/jobs/evaluation.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/job_summary.h"
#include "launch/jobs/run_checks.h"
#include "launch/metrics.h"
#include "launch/scheduler/journal.h"
#include "launch/sweep/halving.h"
#include "launch/sweep/objective.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

/// Of a number that is one.
std::optional<double> finite(std::optional<double> value) {
  return value && std::isfinite(*value) ? value : std::nullopt;
}

/// One folder's jobs, as its journal and its rungs tell of them.
class RunFolder {
 public:
  RunFolder(const Config& run, const fs::path& path) : run_(run), path_(path) {
    run_.set_output(path.string());
    for (const auto& event : read_journal(path / "journal")) table_.apply(event);
    if (!is_halving(run)) return;
    for (int rung = 0; fs::exists(rung_file(path, rung)); ++rung)
      for (const RungResult& result : read_rung(rung_file(path, rung)).results)
        if (!result.goes_on) dropped_[result.job] = result;
  }

  [[nodiscard]] TrialRow row_of(const std::string& name) const {
    const proto::Job& job = run_.job(find_job(run_, name));
    TrialRow row;
    row.job = name;
    row.state = state_of(name);
    if (job.has_train())
      read_training(job, row);
    else
      read_evaluation(job, row);
    if (has_ended(run_, job)) row.state = TrialState::kDone;
    if (row.state == TrialState::kFailed) row.reason = reason_of(name);
    if (row.state == TrialState::kDone && !row.objective) {
      row.state = TrialState::kFailed;
      row.reason = str("its ", run_.sweep().objective(), " is not a number");
    }
    return row;
  }

 private:
  [[nodiscard]] TrialState state_of(const std::string& job) const {
    const auto dropped = dropped_.find(job);
    if (dropped != dropped_.end())
      return dropped->second.objective ? TrialState::kDropped : TrialState::kFailed;
    const bool begun = fs::exists(JobFolder(path_, job).config());
    const JobState state = table_.knows(job) ? table_.job(job).state : JobState::kWaiting;
    if (state == JobState::kFailed || state == JobState::kSkipped) return TrialState::kFailed;
    return begun || state == JobState::kRunning ? TrialState::kRunning : TrialState::kWaiting;
  }
  [[nodiscard]] std::string reason_of(const std::string& job) const {
    const auto dropped = dropped_.find(job);
    if (dropped != dropped_.end()) return dropped->second.reason;
    return table_.knows(job) ? table_.job(job).reason : "";
  }

  void read_training(const proto::Job& job, TrialRow& row) const {
    const JobFolder folder(path_, job.name());
    if (!fs::exists(folder.metrics())) return;
    const std::vector<StepMetrics> steps = read_metrics(folder.metrics());
    const bool validation = run_.sweep().objective() == "validation_loss";
    for (const StepMetrics& m : steps) {
      if (validation ? m.validation_loss.has_value() : !m.skipped)
        row.curve.emplace_back(m.step + 1, validation ? *m.validation_loss : m.loss);
    }
    row.skipped = std::ranges::count_if(steps, &StepMetrics::skipped);
    if (row.curve.empty()) return;
    row.step = row.curve.back().first;
    row.objective = finite(objective_of(run_.sweep(), pause_of(steps, row.step)));
  }

  void read_evaluation(const proto::Job& job, TrialRow& row) const {
    const JobFolder folder(path_, job.name());
    if (!fs::exists(folder.result())) return;
    const auto scores = parse_evaluations(read_file(folder.result()), folder.result().string());
    if (scores.empty()) return;
    const ModelEvaluation& score = scores.front();
    const std::string task = objective_task(run_.sweep());
    if (const auto found = score.tasks.find(task); found != score.tasks.end())
      row.objective = finite(found->second);
    else if (task.empty())
      row.objective =
          finite(run_.sweep().objective() == "perplexity" ? score.perplexity : score.bits_per_byte);
  }

  Config run_;
  fs::path path_;
  JobTable table_;
  std::map<std::string, RungResult> dropped_;
};

/// The same job in several folders.
bool is_further(const TrialRow& a, const TrialRow& b) {
  if ((a.state == TrialState::kDone) != (b.state == TrialState::kDone))
    return a.state == TrialState::kDone;
  if (a.step != b.step) return a.step > b.step;
  return a.state > b.state;
}

}  // namespace

std::vector<fs::path> trial_folders(const Config& run) {
  std::vector<fs::path> folders{run.output()};
  if (!fs::is_directory(run.output())) return folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(run.output())) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && name.starts_with("share_") &&
        name.find("_of_") != std::string::npos)
      folders.push_back(entry.path());
  }
  std::sort(folders.begin() + 1, folders.end());
  return folders;
}

TrialTable collect_trials(const Config& run) {
  TrialTable table;
  for (const proto::Parameter& parameter : run.sweep().parameter())
    table.parameters.push_back(parameter.path());
  table.objective = run.sweep().objective();
  table.more_is_better = more_is_better(run.sweep());
  std::vector<RunFolder> folders;
  for (const fs::path& path : trial_folders(run)) folders.emplace_back(run, path);
  std::map<std::string, TrialRow> by_job;
  for (const proto::Trial& trial : run.trial()) {
    auto [known, is_new] = by_job.try_emplace(trial.job());
    for (std::size_t i = 0; is_new && i < folders.size(); ++i) {
      TrialRow row = folders[i].row_of(trial.job());
      if (i == 0 || is_further(row, known->second)) known->second = std::move(row);
    }
    TrialRow& row = table.rows.emplace_back(known->second);
    row.number = trial.number();
    row.values.assign(trial.value().begin(), trial.value().end());
  }
  rank_trials(table);
  return table;
}

}  // namespace halo::launch
