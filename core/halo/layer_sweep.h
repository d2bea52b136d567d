#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "core/halo/select.h"
#include "core/infer/scoring.h"
#include "core/model/loaded_model.h"

namespace halo::method {

/// What the layer sweep is measured with.
struct SweepInputs {
  const model::ModelConfig& teacher_config;
  const model::ParameterSet& teacher;
  const model::ParameterSet& mixers;  // the aligned mixer of every layer
  model::HybridOptions hybrid;
  const data::Tokenizer& tokenizer;
  std::int64_t max_tokens = 4096;  // of a context and answer
};

/// The scores of every M(i), the teacher with layer i alone replaced, and the teacher's own.
struct SweepScores {
  LayerScore teacher;
  std::vector<LayerScore> layers;
};

/// Measures them on tasks: recall tasks give R, choice tasks C, each the mean over its tasks. M(i) equals the teacher
/// below layer i, so the teacher's stream is computed once a batch and branches into the L suffixes. Examples are shared
/// among the ranks; collective. Nothing when `stop`, collective too, says so before a task. Throws InputError when a kind
/// of task is missing.
/// Source: HALO, arXiv 2601.22156, layer selection.
[[nodiscard]] std::optional<SweepScores> sweep_layers(const SweepInputs& inputs,
                                                      const std::vector<infer::Task>& tasks,
                                                      comm::Communicator& ranks, Stream& stream,
                                                      const std::function<bool()>& stop);

}  // namespace halo::method
