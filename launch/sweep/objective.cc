#include "launch/sweep/objective.h"

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/config_check.h"

namespace halo::launch {
namespace {

constexpr std::string_view kTask = "task:";
constexpr std::array<std::string_view, 2> kOfTraining{"validation_loss", "loss"};
constexpr std::array<std::string_view, 2> kOfEvaluation{"perplexity", "bits_per_byte"};

bool is_of_training(std::string_view objective) {
  return std::ranges::find(kOfTraining, objective) != kOfTraining.end();
}
bool is_of_evaluation(std::string_view objective) {
  return objective.starts_with(kTask) ||
         std::ranges::find(kOfEvaluation, objective) != kOfEvaluation.end();
}

void require_known(const std::string& objective) {
  if (is_of_training(objective) || is_of_evaluation(objective)) return;
  const std::string nearest = nearest_name(
      objective,
      std::vector<std::string>{"validation_loss", "loss", "perplexity", "bits_per_byte"});
  throw InputError(str("sweep.objective is \"", objective, '"',
                       nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?"),
                       " (validation_loss or loss of a training job; perplexity, bits_per_byte or "
                       "task:NAME of an evaluate job)"));
}

}  // namespace

int objective_job(const Config& config) {
  const proto::Sweep& sweep = config.sweep();
  require_known(sweep.objective());
  if (!sweep.job().empty()) {
    const int job = find_job(config, sweep.job());
    if (job >= 0) return job;
    std::vector<std::string> names;
    for (const proto::Job& other : config.job()) names.push_back(other.name());
    const std::string nearest = nearest_name(sweep.job(), names);
    throw InputError(str("sweep.job: there is no job \"", sweep.job(), '"',
                         nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?")));
  }
  for (int i = config.job_size(); i-- > 0;) {
    const proto::Job& job = config.job(i);
    if (is_of_training(sweep.objective()) ? job.has_train() : job.has_evaluate()) return i;
  }
  throw InputError(str("sweep.objective is ", sweep.objective(), ": the config has no ",
                       is_of_training(sweep.objective()) ? "training" : "evaluate",
                       " job that could have it"));
}

void check_objective(const proto::Sweep& sweep, const proto::Job& job) {
  const std::string& objective = sweep.objective();
  const bool fits = is_of_training(objective) ? job.has_train() : job.has_evaluate();
  HALO_REQUIRE_INPUT(fits, str("sweep.objective is ", objective, ": job ", job.name(), " is no ",
                               is_of_training(objective) ? "training" : "evaluate", " job"));
  if (objective == "validation_loss") {
    HALO_REQUIRE_INPUT(
        job.train().validation().tokens_size() > 0,
        str("sweep.objective is validation_loss: job ", job.name(), " has no train.validation"));
  }
  if (!job.has_evaluate()) return;
  HALO_REQUIRE_INPUT(job.evaluate().models_size() == 1,
                     str("sweep.objective is ", objective, ": job ", job.name(), " evaluates ",
                         job.evaluate().models_size(), " models, and a trial has one"));
  const bool of_task = !objective_task(sweep).empty();
  HALO_REQUIRE_INPUT((of_task ? job.evaluate().tasks_size() : job.evaluate().tokens_size()) > 0,
                     str("sweep.objective is ", objective, ": job ", job.name(), " has no ",
                         of_task ? "evaluate.tasks" : "evaluate.tokens"));
}

std::string objective_task(const proto::Sweep& sweep) {
  return sweep.objective().starts_with(kTask) ? sweep.objective().substr(kTask.size()) : "";
}

bool more_is_better(const proto::Sweep& sweep) { return !objective_task(sweep).empty(); }

}  // namespace halo::launch
