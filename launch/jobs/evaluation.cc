#include "launch/jobs/evaluation.h"

#include <nlohmann/json.hpp>

#include "core/base/json.h"
#include "core/halo/transfer.h"
#include "data/batch_views.h"

namespace halo::launch {

EvaluatedModel load_whole(const ModelSource& source, DType dtype, Stream& stream) {
  HALO_REQUIRE_INPUT(!source.mixers_only,
                     str(source.reference, " holds mixers alone, not a whole model"));
  EvaluatedModel model;
  model.name = source.reference;
  model.tokenizer = source.tokenizer;
  model.base = model::load_model(source.config, *source.weights, dtype, stream);
  return model;
}

EvaluatedModel load_aligned(const ModelSource& teacher, const ModelSource& mixers,
                            const std::vector<int>& layers, DType dtype, Stream& stream) {
  HALO_REQUIRE_INPUT(!teacher.config.is_hypenet(),
                     str(teacher.reference,
                         " is no Qwen3 Transformer: aligned mixers replace a teacher's attention"));
  EvaluatedModel model = load_whole(teacher, dtype, stream);
  model.name = mixers.reference;
  std::vector<model::ParameterSpec> specs;
  for (const int layer : layers) {
    for (model::ParameterSpec& spec : model::mixer_specs(mixers.config, layer))
      specs.push_back(std::move(spec));
  }
  model.mixers = std::make_unique<model::ParameterSet>(stream, specs, dtype,
                                                       model::ParameterSet::Use::kFrozen);
  model::load_parameters(*model.mixers, *mixers.weights);
  model.with_mixers = std::make_unique<model::Transformer>(
      model::replace_mixers(teacher.config, *model.base.parameters, *model.mixers, layers,
                            model::hybrid_options_of(mixers.config)));
  return model;
}

std::int64_t text_bytes(std::span<const data::MicroBatch> batches, const data::Tokenizer& tokenizer,
                        comm::Communicator& ranks) {
  std::int64_t bytes = 0;
  for (const data::MicroBatch& batch : batches) {
    for (const std::int32_t label : data::next_token_labels(batch)) {
      if (label < 0 || tokenizer.is_special(label)) continue;
      bytes += static_cast<std::int64_t>(tokenizer.bytes_of(label).size());
    }
  }
  ranks.all_reduce(view(&bytes, {1}), comm::ReduceOp::kSum).wait();
  return bytes;
}

std::string evaluations_to_json(const std::vector<ModelEvaluation>& evaluations) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ModelEvaluation& e : evaluations) {
    nlohmann::ordered_json entry{{"model", e.model}};
    const auto put = [&](const char* key, const std::optional<double>& value) {
      if (value) entry[key] = *value;
    };
    put("loss", e.loss);
    put("perplexity", e.perplexity);
    put("bits_per_byte", e.bits_per_byte);
    if (!e.tasks.empty()) entry["tasks"] = e.tasks;
    list.push_back(std::move(entry));
  }
  return nlohmann::ordered_json{{"models", list}}.dump(2) + "\n";
}

std::vector<ModelEvaluation> parse_evaluations(std::string_view text, const std::string& name) {
  const nlohmann::json document = parse_json(text, name);
  const JsonValue models = JsonValue(document, name).at("models");
  std::vector<ModelEvaluation> evaluations;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const JsonValue entry = models[i];
    ModelEvaluation e;
    e.model = entry.at("model").string();
    const auto number = [&](const char* key) -> std::optional<double> {
      const auto value = entry.find(key);
      return value ? std::optional(value->number()) : std::nullopt;
    };
    e.loss = number("loss");
    e.perplexity = number("perplexity");
    e.bits_per_byte = number("bits_per_byte");
    if (const auto tasks = entry.find("tasks")) {
      tasks->require_object();
      for (const auto& [task, score] : tasks->raw().items()) {
        e.tasks[task] = JsonValue(score, name + ": tasks." + task).number();
      }
    }
    evaluations.push_back(std::move(e));
  }
  return evaluations;
}

}  // namespace halo::launch
