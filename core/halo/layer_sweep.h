#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "core/halo/branching_pass.h"
#include "core/halo/select.h"

namespace halo::method {

/// A part of a sweep's batches: number `index`, index + count, index + 2 count, ...
struct SweepShard {
  int index = 0;
  int count = 1;
  bool operator==(const SweepShard&) const = default;
};

/// What shards of a sweep measured.
struct SweepResult {
  /// By task, model (the teacher, then each M(i)) and sequence; of a generation, one a prompt: of 1 token, which matches
  /// when the answer was found. No tokens: not measured.
  std::vector<std::vector<std::vector<infer::SequenceScore>>> scores;
  SweepPasses passes;
};

/// The scores of every M(i), the teacher with layer i alone replaced, and the teacher's own.
struct SweepScores {
  LayerScore teacher;
  std::vector<LayerScore> layers;
};

/// The layer sweep over tasks, cut into batches that may be measured anywhere in any order: batches depend on the tasks
/// alone, and what is kept of each is its sequences' scores, so that the result has the same bits however they were shared
/// out. Recall tasks give R, choice tasks C, each the mean over its tasks.
/// Source: HALO, arXiv 2601.22156, layer selection.
class LayerSweep {
 public:
  /// `tokenizer` must outlive it; contexts are cut from the left to `max_tokens` with their answers. Throws InputError when
  /// a kind of task is missing or an answer does not fit.
  LayerSweep(std::vector<infer::Task> tasks, const data::Tokenizer& tokenizer,
             std::int64_t max_tokens = 4096);
  LayerSweep(const LayerSweep&) = delete;  // prompts point into tasks
  LayerSweep& operator=(const LayerSweep&) = delete;

  [[nodiscard]] int batches() const { return static_cast<int>(batches_.size()); }
  /// Whether a shard has batches.
  [[nodiscard]] bool has_work(const SweepShard& shard) const { return shard.index < batches(); }

  /// Nothing measured yet.
  [[nodiscard]] SweepResult nothing(int layers) const;
  /// Measures a shard. Nothing when `stop`, asked before each branch, says so.
  [[nodiscard]] std::optional<SweepResult> measure(const SweepModels& models,
                                                   const SweepShard& shard,
                                                   const std::function<bool()>& stop,
                                                   Stream& stream) const;
  /// Adds a shard's result to others'. Throws Error when a sequence was measured twice, or when it is of other tasks.
  static void add(SweepResult& sum, const SweepResult& shard);
  /// Throws Error unless everything was measured.
  [[nodiscard]] SweepScores scores(const SweepResult& result) const;

 private:
  struct Batch {
    std::size_t task = 0;
    infer::ScoredBatch tokens;
    std::size_t prompt = 0;  // of a generation task
  };
  void add_batches(std::size_t task);

  std::vector<infer::Task> tasks_;
  const data::Tokenizer& tokenizer_;
  std::int64_t max_tokens_;
  std::vector<std::vector<infer::ScoredSequence>> sequences_;  // by task
  std::vector<std::vector<infer::GenerationPrompt>> prompts_;  // by task, of generations
  std::vector<Batch> batches_;
};

}  // namespace halo::method
