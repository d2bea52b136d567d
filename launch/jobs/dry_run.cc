#include "launch/jobs/dry_run.h"

#include <algorithm>
#include <iomanip>
#include <map>
#include <sstream>

#include "core/base/text.h"
#include "core/halo/stage_flops.h"
#include "core/halo/transfer.h"
#include "launch/jobs/architectures.h"
#include "launch/jobs/job_queue.h"
#include "launch/plan/layout_plan.h"
#include "launch/text_table.h"

namespace halo::launch {
namespace {

struct Estimate {
  double parameters = 0, weights = 0, teacher = 0, gradients = 0, optimizer = 0, activations = 0,
         flops = 0, bubble = 0, snapshot = 0;
  [[nodiscard]] double memory() const {
    return weights + teacher + gradients + optimizer + activations;
  }
};

double flops_per_token(const Architectures& architectures, const proto::Train& train,
                       const model::ModelConfig& student) {
  const std::int64_t T = train.data().sequence_length();
  if (train.stage() == proto::ALIGN)
    return method::align_flops(architectures.of(train.teacher()), student, T);
  if (train.stage() == proto::DISTILL)
    return method::distill_flops(architectures.of(train.teacher()), student, T);
  return method::finetune_flops(student, T);
}

Estimate estimate(const Config& config, const proto::Job& job, int ranks) {
  const proto::Train& train = job.train();
  const Architectures architectures(config);
  const model::ModelConfig student = architectures.student(train);
  const LayoutPlan plan = plan_layout(config, job, ranks, read_machine("h100"));
  const RankPlan& rank = plan.fullest;
  Estimate e;
  e.parameters =
      model::parameter_elements(train.stage() == proto::ALIGN ? method::align_specs(student)
                                                              : model::parameter_specs(student));
  e.weights = rank.weights;
  e.teacher = rank.teacher;
  e.gradients = rank.gradients;
  e.optimizer = rank.optimizer;
  e.activations = rank.peak - rank.weights - rank.teacher - rank.gradients - rank.optimizer;
  e.bubble = plan.bubble;
  e.snapshot = rank.snapshot;
  e.flops = flops_per_token(architectures, train, student) *
            double(train.data().sequence_length()) * double(train.batch().sequences());
  return e;
}

void write_row(std::ostream& out, const proto::Job& job, const Estimate& e) {
  const proto::Train& train = job.train();
  const double tokens = double(train.batch().sequences()) * double(train.data().sequence_length());
  out << std::left << std::setw(14) << name_in_config(job) << std::right << std::setw(10)
      << human_count(e.parameters) << std::setw(12) << human_bytes(e.memory()) << std::setw(12)
      << human_bytes(e.weights + e.teacher) << std::setw(12)
      << human_bytes(e.gradients + e.optimizer) << std::setw(13) << human_bytes(e.activations)
      << std::setw(12) << human_bytes(e.snapshot) << std::setw(8)
      << formatted("%.0f%%", 100 * e.bubble) << std::setw(10) << human_count(e.flops)
      << std::setw(10) << human_count(tokens) << std::setw(9) << train.steps() << std::setw(12)
      << human_count(e.flops * double(train.steps())) << '\n';
}

}  // namespace

std::string name_in_config(const proto::Job& job) {
  return job.name().substr(0, job.name().find('@'));
}

bool is_first_of_its_trials(const Config& config, int job) {
  if (config.trial_size() == 0) return true;
  for (int i = 0; i < job; ++i)
    if (name_in_config(config.job(i)) == name_in_config(config.job(job))) return false;
  return true;
}

bool is_asked(const Config& config, int job, const std::string& asked) {
  const std::string& name = config.job(job).name();
  if (!asked.empty() && asked == name) return true;
  if (!asked.empty() && asked != name_in_config(config.job(job))) return false;
  return is_first_of_its_trials(config, job);
}

std::string sweep_text(const Config& config) {
  if (config.trial_size() == 0) return "";
  std::vector<std::vector<std::string>> rows{{"trial"}};
  for (const proto::Parameter& parameter : config.sweep().parameter())
    rows.front().push_back(parameter.path());
  rows.front().emplace_back("job");
  for (const proto::Trial& trial : config.trial()) {
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(str(trial.number()));
    row.insert(row.end(), trial.value().begin(), trial.value().end());
    row.push_back(trial.job());
  }
  std::string text = str(config.trial_size(), " trials, by ", config.sweep().objective(), ":\n") +
                     aligned_table(rows);
  std::map<std::string, int> variants;
  for (const proto::Job& job : config.job()) ++variants[name_in_config(job)];
  text += "Jobs:";
  for (int i = 0; i < config.job_size(); ++i)
    if (is_first_of_its_trials(config, i))
      text += str(' ', variants.at(name_in_config(config.job(i))), " of ",
                  name_in_config(config.job(i)), ',');
  text.back() = '\n';
  return text;
}

std::string dry_run(const Config& config, int started) {
  int ranks = started;  // a run has at least as many as any of its jobs asks for
  for (const proto::Job& job : config.job()) ranks = std::max(ranks, job.ranks());
  std::ostringstream out;
  out << sweep_text(config) << "On " << ranks << (ranks == 1 ? " rank" : " ranks")
      << (ranks > started ? str(", which jobs ask for (here ", started, "),") : ",")
      << " memory of the fullest, on its host for checkpoints, FLOPs of all:\n"
      << std::left << std::setw(14) << "job" << std::right << std::setw(10) << "trained"
      << std::setw(12) << "memory" << std::setw(12) << "weights" << std::setw(12) << "optimizer"
      << std::setw(13) << "activations" << std::setw(12) << "on host" << std::setw(8) << "bubble"
      << std::setw(10) << "FLOP/step" << std::setw(10) << "tok/step" << std::setw(9) << "steps"
      << std::setw(12) << "FLOP" << '\n';
  for (const int i : job_order(config)) {
    const proto::Job& job = config.job(i);
    if (!is_first_of_its_trials(config, i)) continue;
    if (!job.has_train()) {
      out << std::left << std::setw(14) << job.name() << "  no training\n";
      continue;
    }
    write_row(out, job, estimate(config, job, ranks_of_job(job, ranks)));
  }
  return out.str();
}

}  // namespace halo::launch
