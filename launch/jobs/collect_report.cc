#include "launch/jobs/collect_report.h"

#include <glog/logging.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/halo/select.h"
#include "launch/config_check.h"
#include "launch/jobs/collect_trials.h"
#include "launch/jobs/evaluation.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/job_summary.h"
#include "launch/metrics.h"
#include "launch/scheduler/journal.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

StageReport stage_report(const proto::Job& job, const JobFolder& folder) {
  StageReport stage;
  stage.name = job.name();
  stage.stage = proto::Stage_Name(job.train().stage());
  for (const StepMetrics& m : read_metrics(folder.metrics())) {
    if (m.skipped)
      ++stage.skipped;
    else
      stage.loss.push_back({m.step, m.loss});
    if (m.validation_loss) stage.validation.push_back({m.step, *m.validation_loss});
    stage.tokens += m.tokens;
    stage.seconds += m.step_ms / 1e3;
  }
  if (fs::exists(folder.summary())) stage.parameters = read_job_summary(folder).parameters;
  return stage;
}

std::vector<LayerReport> layer_reports(const JobFolder& folder, const std::string& selected_by) {
  const std::string text = read_file(folder.result());
  const method::Sweep sweep = method::parse_sweep(text, folder.result().string());
  const std::vector<double> importance = method::importance(sweep.layers);
  const std::vector<int> kept = selected_layers(selected_by, folder.path().parent_path());
  std::vector<LayerReport> layers;
  for (std::size_t i = 0; i < sweep.layers.size(); ++i) {
    const bool keep = std::find(kept.begin(), kept.end(), static_cast<int>(i)) != kept.end();
    layers.push_back({sweep.layers[i].recall, sweep.layers[i].csr, importance[i], keep});
  }
  return layers;
}

/// How a config's model is called on the page, and what it is in the method.
class ModelNames {
 public:
  explicit ModelNames(const Config& config) : config_(config) {}

  [[nodiscard]] ModelReport::Role role(const std::string& reference) const {
    for (const proto::Job& job : config_.job()) {
      if (job.train().teacher() == reference) return ModelReport::Role::kTeacher;
    }
    const proto::Job* job = find(reference);
    const bool from_scratch = job != nullptr && job->train().stage() == proto::PRETRAIN;
    return from_scratch ? ModelReport::Role::kBaseline : ModelReport::Role::kStudent;
  }
  [[nodiscard]] std::string name(const std::string& reference) const {
    if (role(reference) == ModelReport::Role::kTeacher) return "teacher";
    const proto::Job* job = find(reference);
    if (job == nullptr) return reference;
    switch (job->train().stage()) {
      case proto::PRETRAIN:
        return is_hybrid(*job) ? "hybrid from scratch" : "Transformer from scratch";
      case proto::ALIGN:
        return "teacher with aligned mixers";
      case proto::DISTILL:
        return "hybrid after distill";
      case proto::FINETUNE:
        return "hybrid after finetune";
    }
    return reference;
  }

 private:
  [[nodiscard]] bool is_hybrid(const proto::Job& job) const {
    const JobFolder folder(config_.output(), job.name());
    return fs::exists(folder.model_config()) &&
           model::read_model_config(folder.model_config()).is_hypenet();
  }
  const proto::Job* find(const std::string& reference) const {
    for (const proto::Job& job : config_.job()) {
      if (job.has_train() && job.name() == referenced_job(reference)) return &job;
    }
    return nullptr;
  }
  const Config& config_;
};

void add_models(Report& report, const ModelNames& names, const JobFolder& folder) {
  const std::string path = folder.result().string();
  for (const ModelEvaluation& e : parse_evaluations(read_file(folder.result()), path)) {
    ModelReport model;
    model.name = names.name(e.model);
    if (std::ranges::find(report.models, model.name, &ModelReport::name) != report.models.end())
      model.name += " (" + e.model + ")";
    model.role = names.role(e.model);
    model.perplexity = e.perplexity;
    model.bits_per_byte = e.bits_per_byte;
    model.tasks.assign(e.tasks.begin(), e.tasks.end());
    report.models.push_back(std::move(model));
  }
}

/// What the layer sweep cost, where one was measured.
void add_sweep_cost(Report& report, const JobFolder& folder) {
  const nlohmann::json result = parse_json(read_file(folder.result()), folder.result().string());
  const auto passes = JsonValue(result, folder.result().string()).find("passes");
  if (!passes) return;
  const auto count = [&](const char* name) {
    return passes->at(name).integer(0, std::int64_t{1} << 62);
  };
  const std::int64_t batches = std::max<std::int64_t>(1, count("batches"));
  const auto layers = std::ssize(report.layers);
  report.facts.emplace_back(
      "layer sweep", str(batches, " batches of ", (count("teacher") + count("branches")) / batches,
                         " layer passes each; one layer after the other ", layers * layers));
}

/// The share of the ranks' time without a job, over all programs of the run, each from its first start of a job to the last
/// event that it wrote into the journal.
void add_idle_share(Report& report, const fs::path& output) {
  JobTable table;
  double idle = 0, all = 0, first = -1, last = 0;
  const auto add_program = [&] {
    if (first < 0) return;
    const double seconds = table.ranks() * (last - std::exchange(first, -1));
    all += seconds;
    idle += seconds * table.idle_share(last);
  };
  try {
    for (const proto::SchedulerEvent& event : read_journal(output / "journal")) {
      if (event.has_began()) add_program();
      table.apply(event);
      if (event.has_started() && first < 0) first = event.time();
      last = event.time();
    }
  } catch (const Error& error) {
    LOG(WARNING) << (output / "journal").string() << ": " << error.what();
    return;
  }
  add_program();
  if (table.ranks() < 2 || !(all > 0)) return;
  report.facts.emplace_back("ranks' time without a job", formatted("%.0f%%", 100 * idle / all));
}

}  // namespace

Report collect_report(const Config& config, int ranks) {
  Report report;
  const ModelNames names(config);
  if (config.trial_size() > 0) report.trials = collect_trials(config);
  double seconds = 0.0;
  std::int64_t tokens = 0;
  const std::vector<fs::path> folders =
      config.trial_size() > 0 ? trial_folders(config) : std::vector<fs::path>{config.output()};
  const auto is_of_some_trials = [&](const std::string& job) {
    return job.find('@') != std::string::npos &&
           (report.trials->rows.empty() || job != report.trials->rows.front().job);
  };
  for (const int i : job_order(config)) {
    const proto::Job& job = config.job(i);
    const JobFolder folder(config.output(), job.name());
    const bool shown = config.trial_size() == 0 || !is_of_some_trials(job.name());
    for (const fs::path& output : folders) {
      const JobFolder trained(output, job.name());
      if (!job.has_train() || !fs::exists(trained.metrics())) continue;
      StageReport stage = stage_report(job, trained);
      seconds += stage.seconds;
      tokens += stage.tokens;
      if (shown && output == folders.front()) report.stages.push_back(std::move(stage));
    }
    if (!shown) continue;  // the trials' table says it
    const bool scored = job.has_select() && is_measured(job.select().strategy());
    if (scored && fs::exists(folder.result())) {
      report.layers = layer_reports(folder, "job:" + job.name());
      add_sweep_cost(report, folder);
    }
    if (job.has_evaluate() && fs::exists(folder.result())) add_models(report, names, folder);
    if (job.has_report() && !job.report().title().empty()) report.title = job.report().title();
    if (job.has_report() && !job.report().gzip_text().empty()) {
      report.gzip_bits_per_byte = gzip_bits_per_byte(read_file(job.report().gzip_text()));
    }
  }
  if (report.title.empty()) report.title = "halo run " + config.output();
  if (ranks > 0) report.facts.emplace_back("ranks", std::to_string(ranks));
  report.facts.emplace_back("tokens trained on", human_count(static_cast<double>(tokens)));
  report.facts.emplace_back("time in steps", human_seconds(seconds));
  add_idle_share(report, config.output());
  return report;
}

}  // namespace halo::launch
