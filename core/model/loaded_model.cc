#include "core/model/loaded_model.h"

#include <set>

namespace halo::model {

LoadedModel load_model(const ModelConfig& config, const WeightSource& weights, DType dtype,
                       Stream& stream) {
  LoadedModel loaded;
  loaded.parameters = std::make_unique<ParameterSet>(stream, parameter_specs(config), dtype,
                                                     ParameterSet::Use::kFrozen);
  load_parameters(*loaded.parameters, weights);
  loaded.parameters->transpose_matrices(stream);
  loaded.transformer = std::make_unique<Transformer>(config, loaded.parameters->lookup());
  return loaded;
}

Transformer replace_mixers(const ModelConfig& teacher_config, const ParameterSet& teacher,
                           const ParameterSet& mixers, const std::vector<int>& layers,
                           const HybridOptions& options) {
  std::set<std::string> replaced;
  for (const int layer : layers) replaced.insert(mixer_prefix(layer));
  const auto lookup = [&](const std::string& name) -> const Parameter& {
    const std::size_t end = name.find(".self_attn.");
    const bool mixer = end != std::string::npos &&
                       replaced.contains(name.substr(0, end + sizeof ".self_attn." - 1));
    return mixer ? mixers.at(name) : teacher.at(name);
  };
  return {replacement_config(teacher_config, layers, options), lookup};
}

}  // namespace halo::model
