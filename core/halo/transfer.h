#pragma once
#include "core/model/weight_source.h"

namespace halo::method {

/// The weights a conversion starts from.
struct Teacher {
  const model::WeightSource& weights;
  const model::ModelConfig& config;
};

/// The start of the align stage: lightning mixers from the teacher's attention. q_proj, o_proj, q_norm and k_norm are
/// copied; k_proj and v_proj repeated to the student's key/value heads; o_norm starts at 1; z_proj is fresh.
///
/// Sets every parameter of `student` that belongs to a lightning mixer of `config`.
/// Source: HALO, arXiv 2601.22156, stage 1; oracle `transfer`.
void transfer(const model::ParameterSet& student, const model::ModelConfig& config,
              const Teacher& teacher, std::uint64_t seed);

/// The start of the distill stage: a whole hybrid. Layers that stay softmax attention take the teacher's attention and a
/// fresh o_gate; the others take the aligned `mixers`, or transfer()'s when it is null; everything else is the teacher's.
/// Source: oracle `build_hybrid`.
void build_hybrid(const model::ParameterSet& student, const model::ModelConfig& config,
                  const Teacher& teacher, const model::WeightSource* mixers, std::uint64_t seed);

/// The parameters of the align stage: the lightning mixers of every layer, or of those in some ranges. `config` has no
/// attention layer.
[[nodiscard]] std::vector<model::ParameterSpec> align_specs(const model::ModelConfig& config);
[[nodiscard]] std::vector<model::ParameterSpec> align_specs(
    const model::ModelConfig& config, const std::vector<model::LayerRange>& ranges);

}  // namespace halo::method
