#include "launch/sweep/halving.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "launch/config_check.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
constexpr std::int64_t kMaxSteps = std::int64_t{1} << 60;

ordered_json number(std::optional<double> value) {
  return value && std::isfinite(*value) ? ordered_json(*value) : ordered_json(nullptr);
}

std::optional<double> number_of(const JsonValue& value, const char* name) {
  const auto found = value.find(name);
  return found ? std::optional(found->number()) : std::nullopt;
}

fs::path pause_file(const fs::path& job) { return job / "paused.json"; }

/// In rising order.
std::vector<Pause> read_pauses(const fs::path& job) {
  const fs::path path = pause_file(job);
  if (!fs::exists(path)) return {};
  const nlohmann::json document = parse_json(read_file(path), path.string());
  const JsonValue json(document, path.string());
  json.require_array();
  std::vector<Pause> pauses;
  for (std::size_t i = 0; i < json.size(); ++i) {
    Pause& pause = pauses.emplace_back();
    pause.step = json[i].at("step").integer(0, kMaxSteps);
    pause.validation_loss = number_of(json[i], "validation_loss");
    pause.loss = number_of(json[i], "loss").value_or(std::nan(""));
  }
  return pauses;
}

}  // namespace

bool is_halving(const Config& run) {
  return run.trial_size() > 0 && run.sweep().strategy() == proto::Sweep::SUCCESSIVE_HALVING;
}

void check_halving(const Config& run) {
  const proto::Halving& halving = run.sweep().halving();
  if (!is_halving(run)) {
    HALO_REQUIRE_INPUT(!run.sweep().has_halving(), "sweep.halving is for SUCCESSIVE_HALVING alone");
    return;
  }
  HALO_REQUIRE_INPUT(halving.has_min_steps(),
                     "sweep.halving.min_steps is missing: the steps of every trial");
  HALO_REQUIRE_INPUT(halving.min_steps() >= 1, str("sweep.halving.min_steps is ",
                                                   halving.min_steps(), ": it must be at least 1"));
  HALO_REQUIRE_INPUT(halving.reduction() >= 2, str("sweep.halving.reduction is ",
                                                   halving.reduction(), ": it must be at least 2"));
  std::set<std::int64_t> steps;
  for (const proto::Trial& trial : run.trial()) {
    const proto::Job& job = run.job(find_job(run, trial.job()));
    HALO_REQUIRE_INPUT(job.has_train(), str("sweep.strategy is SUCCESSIVE_HALVING: ", job.name(),
                                            ", which has the objective, is no training job"));
    steps.insert(job.train().steps());
  }
  HALO_REQUIRE_INPUT(steps.size() == 1, str("sweep.strategy is SUCCESSIVE_HALVING: trials of ",
                                            *steps.begin(), " and of ", *steps.rbegin(),
                                            " steps cannot be compared before their "
                                            "ends"));
  HALO_REQUIRE_INPUT(halving.min_steps() < *steps.begin(),
                     str("sweep.halving.min_steps is ", halving.min_steps(), ": a whole trial has ",
                         *steps.begin(), " steps, and it must be fewer"));
}

std::vector<std::int64_t> rung_steps(const proto::Halving& halving, std::int64_t steps) {
  std::vector<std::int64_t> rungs;
  for (std::int64_t at = halving.min_steps(); at < steps; at *= halving.reduction()) {
    rungs.push_back(at);
    if (at > steps / halving.reduction()) break;
  }
  rungs.push_back(steps);
  return rungs;
}

std::size_t places_of(std::size_t jobs, int reduction) {
  return std::max<std::size_t>(1, jobs / static_cast<std::size_t>(reduction));
}

std::vector<RungResult*> ranked(std::vector<RungResult>& results) {
  std::vector<RungResult*> order;
  for (RungResult& result : results)
    if (result.objective && std::isfinite(*result.objective)) order.push_back(&result);
  std::ranges::stable_sort(order, {}, [](const RungResult* result) { return *result->objective; });
  return order;
}

void decide_rung(std::vector<RungResult>& results, int reduction) {
  const std::vector<RungResult*> order = ranked(results);
  const std::size_t places = places_of(results.size(), reduction);
  for (std::size_t i = 0; i < std::min(places, order.size()); ++i) order[i]->goes_on = true;
}

fs::path rung_file(const fs::path& output, int rung) {
  return output / "rungs" / str(rung, ".json");
}

void write_rung(const fs::path& path, const Rung& rung) {
  ordered_json document{{"steps", rung.steps}, {"jobs", ordered_json::array()}};
  for (const RungResult& result : rung.results) {
    ordered_json job{
        {"job", result.job}, {"objective", number(result.objective)}, {"goes_on", result.goes_on}};
    if (!result.reason.empty()) job["reason"] = result.reason;
    document["jobs"].push_back(std::move(job));
  }
  fs::create_directories(path.parent_path());
  write_file_atomically(
      path, document.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

Rung read_rung(const fs::path& path) {
  const nlohmann::json document = parse_json(read_file(path), path.string());
  const JsonValue json(document, path.string());
  const JsonValue jobs = json.at("jobs");
  Rung rung;
  rung.steps = json.at("steps").integer(0, kMaxSteps);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    RungResult result;
    result.job = jobs[i].at("job").string();
    result.objective = number_of(jobs[i], "objective");
    result.goes_on = jobs[i].at("goes_on").boolean();
    if (const auto reason = jobs[i].find("reason")) result.reason = reason->string();
    rung.results.push_back(std::move(result));
  }
  return rung;
}

void write_pause(const fs::path& job, const Pause& pause) {
  std::vector<Pause> pauses = read_pauses(job);
  std::erase_if(pauses, [&](const Pause& other) { return other.step >= pause.step; });
  pauses.push_back(pause);
  ordered_json document = ordered_json::array();
  for (const Pause& p : pauses)
    document.push_back({{"step", p.step},
                        {"validation_loss", number(p.validation_loss)},
                        {"loss", number(p.loss)}});
  write_file_atomically(pause_file(job), document.dump(1) + "\n");
}

std::optional<Pause> read_pause(const fs::path& job, std::int64_t step) {
  for (const Pause& pause : read_pauses(job))
    if (pause.step == step) return pause;
  return std::nullopt;
}

std::optional<double> objective_of(const proto::Sweep& sweep, const Pause& pause) {
  if (sweep.objective() == "validation_loss") return pause.validation_loss;
  return std::isfinite(pause.loss) ? std::optional(pause.loss) : std::nullopt;
}

}  // namespace halo::launch
