#include "launch/jobs/job_summary.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "core/base/file.h"
#include "core/base/json.h"

namespace halo::launch {
namespace {

/// Mean over the last tenth, at least one; NaN without steps.
double late_loss_of(std::span<const StepMetrics> steps) {
  if (steps.empty()) return std::numeric_limits<double>::quiet_NaN();
  const std::size_t late = std::max<std::size_t>(1, steps.size() / 10);
  double sum = 0.0;
  for (const StepMetrics& m : steps.last(late)) sum += m.loss / static_cast<double>(late);
  return sum;
}

}  // namespace

Pause pause_of(std::vector<StepMetrics> steps, std::int64_t end) {
  Pause pause;
  pause.step = end;
  std::erase_if(steps, [end](const StepMetrics& m) { return m.step >= end; });
  if (!steps.empty() && steps.back().step == end - 1)
    pause.validation_loss = steps.back().validation_loss;
  std::erase_if(steps, [](const StepMetrics& m) { return m.skipped; });
  pause.loss = late_loss_of(steps);
  return pause;
}

void write_job_summary(const JobFolder& folder, std::int64_t parameters,
                       const std::vector<std::int64_t>& peak_bytes, const proto::Train& train) {
  std::vector<StepMetrics> steps = std::filesystem::exists(folder.metrics())
                                       ? read_metrics(folder.metrics())
                                       : std::vector<StepMetrics>();
  double seconds = 0.0;
  std::int64_t tokens = 0;
  for (const StepMetrics& m : steps) {
    seconds += m.step_ms / 1e3;
    tokens += m.tokens;
  }
  const auto skipped = std::erase_if(steps, [](const StepMetrics& m) { return m.skipped; });
  const double late_loss = steps.empty() ? 0.0 : late_loss_of(steps);
  nlohmann::json summary{{"stage", proto::Stage_Name(train.stage())},
                         {"steps", train.steps()},
                         {"tokens", tokens},
                         {"parameters", parameters},
                         {"seconds", seconds},
                         {"loss", late_loss},
                         {"skipped", skipped},
                         {"peak_bytes", peak_bytes}};
  if (peak_bytes.empty()) summary.erase("peak_bytes");
  if (steps.empty() && skipped > 0) summary.erase("loss");
  write_file_atomically(folder.summary(), summary.dump(2) + "\n");
}

JobSummary read_job_summary(const JobFolder& folder) {
  constexpr std::int64_t kMax = std::int64_t{1} << 60;
  const std::string name = folder.summary().string();
  const nlohmann::json document = parse_json(read_file(folder.summary()), name);
  const JsonValue json(document, name);
  JobSummary summary;
  summary.stage = json.at("stage").string();
  summary.steps = json.at("steps").integer(0, kMax);
  summary.tokens = json.at("tokens").integer(0, kMax);
  summary.parameters = json.at("parameters").integer(0, kMax);
  summary.seconds = json.at("seconds").number();
  summary.loss = document.contains("loss") ? json.at("loss").number()
                                           : std::numeric_limits<double>::quiet_NaN();
  if (const auto skipped = json.find("skipped")) summary.skipped = skipped->integer(0, kMax);
  return summary;
}

}  // namespace halo::launch
