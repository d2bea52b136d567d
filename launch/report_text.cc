#include <algorithm>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/chart.h"
#include "launch/report.h"
#include "launch/text_table.h"

namespace halo::launch {
namespace {

std::string stages_text(const Report& report) {
  std::vector<std::vector<std::string>> rows = {
      {"stage", "steps", "tokens", "time", "tokens/s", "first loss", "late loss", "validation"}};
  for (const StageReport& stage : report.stages) {
    const double tokens = static_cast<double>(stage.tokens);
    const bool some = !stage.loss.empty();
    rows.push_back({stage.name, steps_text(stage), human_count(tokens),
                    human_seconds(stage.seconds),
                    stage.seconds > 0 ? human_count(tokens / stage.seconds) : "",
                    some ? short_number(stage.loss.front().loss) : "",
                    some ? short_number(late_loss(stage)) : "",
                    stage.validation.empty() ? "" : short_number(stage.validation.back().loss)});
  }
  return "Training\n" + aligned_table(rows);
}

std::string models_text(const Report& report) {
  std::vector<std::vector<std::string>> rows = {
      {"model", "perplexity", "over the teacher", "bits a byte"}};
  for (const ModelReport& model : report.models) {
    const auto excess = excess_over_teacher(report, model);
    rows.push_back({model.name, model.perplexity ? short_number(*model.perplexity) : "",
                    excess ? formatted("%+.1f%%", 100 * *excess) : "",
                    model.bits_per_byte ? formatted("%.3f", *model.bits_per_byte) : ""});
  }
  if (report.gzip_bits_per_byte)
    rows.push_back({"gzip -9", "", "", formatted("%.3f", *report.gzip_bits_per_byte)});
  return "Held-out text\n" + aligned_table(rows);
}

std::string layers_text(const Report& report) {
  std::vector<std::vector<std::string>> rows = {
      {"layer replaced", "recall %", "commonsense %", "importance", ""}};
  std::string kept;
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    const LayerReport& layer = report.layers[i];
    rows.push_back({str(i), formatted("%.2f", 100 * layer.recall),
                    formatted("%.2f", 100 * layer.csr), formatted("%.3f", layer.importance),
                    layer.kept ? "kept" : ""});
    if (layer.kept) kept += (kept.empty() ? "" : ", ") + str(i);
  }
  return "Layers\n" + aligned_table(rows) +
         "  kept as softmax attention: " + (kept.empty() ? "none" : kept) + "\n";
}

}  // namespace

std::string to_text_table(const Report& report, std::size_t most_trials) {
  std::string text;
  const auto add = [&](const std::string& section) {
    text += (text.empty() ? "" : "\n") + section;
  };
  if (!report.title.empty()) add(report.title + "\n");
  for (const auto& [name, value] : report.facts) text += "  " + name + ": " + value + "\n";
  if (!report.stages.empty()) add(stages_text(report));
  if (!report.layers.empty()) add(layers_text(report));
  if (!report.models.empty()) add(models_text(report));
  if (report.trials) add(trials_text(*report.trials, most_trials));
  return text;
}

}  // namespace halo::launch
