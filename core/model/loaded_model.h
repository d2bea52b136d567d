#pragma once
#include <filesystem>
#include <memory>

#include "core/model/transformer.h"
#include "core/model/weight_source.h"

namespace halo::model {

/// A model with its weights, neither of them to be trained.
struct LoadedModel {
  std::unique_ptr<ParameterSet> parameters;
  std::unique_ptr<Transformer> transformer;
};

/// Loads a model in `dtype`. Throws InputError with file, place and reason.
[[nodiscard]] LoadedModel load_model(const ModelConfig& config, const WeightSource& weights,
                                     DType dtype, Stream& stream);

/// The teacher with the mixers of some layers replaced, made from two sets of weights that both must outlive it. `mixers`
/// needs those layers' alone. Source: oracle `single_replacement`.
[[nodiscard]] Transformer replace_mixers(const ModelConfig& teacher_config,
                                         const ParameterSet& teacher, const ParameterSet& mixers,
                                         const std::vector<int>& layers,
                                         const HybridOptions& options);

}  // namespace halo::model
