#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "core/infer/generation_task.h"
#include "core/infer/scoring.h"
#include "core/model/loaded_model.h"

namespace halo::method {

/// What the models of a layer sweep are made of.
struct SweepModels {
  const model::ModelConfig& teacher_config;
  const model::ParameterSet& teacher;
  const model::ParameterSet& mixers;  // the aligned mixer of every layer
  model::HybridOptions hybrid;
};

/// Passes of one layer over a batch; a prompt is a batch too. Of L layers a batch takes L by the teacher's stream and
/// L (L + 1) / 2 by those that branch off it.
struct SweepPasses {
  std::int64_t batches = 0;
  std::int64_t teacher = 0;
  std::int64_t branches = 0;
  std::int64_t decoding = 0;  // of one token, of all models' continuations of prompts
};

/// Runs the teacher and every M(i), the teacher with layer i alone replaced, over the same tokens. M(i) equals the teacher
/// below layer i, so the teacher's stream is computed once and branches at each layer. Model 0 is the teacher, 1 + i is M(i).
/// Source: HALO, arXiv 2601.22156, layer selection.
class BranchingPass {
 public:
  /// `models` must outlive it. `stop` is asked before each branch; true ends what is under way.
  BranchingPass(const SweepModels& models, std::function<bool()> stop, Stream& stream);

  [[nodiscard]] int layers() const { return teacher_.layers(); }
  [[nodiscard]] const SweepPasses& passes() const { return passes_; }

  /// Adds a batch's scores under each model to scores[model]. False when it was asked to stop.
  [[nodiscard]] bool score(std::vector<std::vector<infer::SequenceScore>>& scores,
                           const infer::ScoredBatch& batch);
  /// Each model's greedy continuation of a prompt. Nothing when it was asked to stop.
  [[nodiscard]] std::optional<std::vector<std::vector<std::int32_t>>> continuations(
      const infer::GenerationPrompt& prompt);

 private:
  [[nodiscard]] Tensor embedded(const std::vector<std::int32_t>& ids,
                                const model::Sequence& sequence);
  /// The final hidden states of `model` from layer `first` on, whose input x is used up. Counts in `passes`.
  [[nodiscard]] Tensor finish(const model::Transformer& model, int first, const Tensor& x,
                              const model::Sequence& sequence,
                              std::vector<model::MixerCache>* caches, std::int64_t& passes);
  /// What `model` makes of the end of a prompt that it has read.
  [[nodiscard]] std::vector<std::int32_t> decode(const model::Transformer& model,
                                                 std::vector<model::MixerCache>& caches,
                                                 const Tensor& h,
                                                 const infer::GenerationPrompt& prompt);

  model::Transformer teacher_;
  std::vector<model::Transformer> replaced_;
  model::RopeTables rope_;
  DType dtype_;
  std::function<bool()> stop_;
  Stream& stream_;
  SweepPasses passes_;
};

}  // namespace halo::method
