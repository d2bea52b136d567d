#pragma once
#include <functional>
#include <span>
#include <vector>

#include "core/infer/tasks.h"
#include "core/model/transformer.h"
#include "data/loader.h"
#include "parallel/comm/communicator.h"

namespace halo::infer {

/// A right-padded batch of scored sequences: padding follows each sequence, so causal models never see it.
struct ScoredBatch {
  std::int64_t T = 0, B = 0;
  std::vector<std::int32_t> tokens;    // (T, B)
  std::vector<std::int32_t> labels;    // (T, B): the next token where it is scored, else -1
  std::vector<std::size_t> sequences;  // (B): which sequence each lane is
};
/// Batches of sequences of like length, at most `max_rows` tokens each with padding (a longer sequence is one alone).
[[nodiscard]] std::vector<ScoredBatch> scored_batches(std::span<const ScoredSequence> sequences,
                                                      std::int64_t max_rows);

/// What a model makes of one sequence's scored tokens.
struct SequenceScore {
  double log_likelihood = 0.0;      // sum over the scored tokens
  std::int64_t tokens = 0;          // how many are scored
  std::int64_t greedy_matches = 0;  // of them that are the model's first choice
};

/// Adds the scores of a batch's lanes to scores[sequence], from final hidden states h (T * B, D).
void score_batch(std::span<SequenceScore> scores, const ScoredBatch& batch, TensorView h,
                 const model::Head& head, Stream& stream);

/// A task's result for one model: the mean over its examples. Of a choice, 1 when the right answer has the largest
/// log-likelihood a character (acc_norm); of a recall, the share of the answer's tokens that are the model's first choice
/// given those before; of a generation, whose scores have one token each, whether it matches.
[[nodiscard]] double task_score(const Task& task, std::span<const ScoredSequence> sequences,
                                std::span<const SequenceScore> scores);

/// Scores a model on a task of any type, examples shared among the ranks; every rank gets the whole result. Of a
/// generation, an example counts 1 when its answer stands in the greedy continuation of its prompt (generation_task.h).
/// Collective.
[[nodiscard]] double score_task(const model::Transformer& model, const Task& task,
                                const data::Tokenizer& tokenizer, std::int64_t max_tokens,
                                DType dtype, comm::Communicator& ranks, Stream& stream);

/// Sums every rank's scores into all ranks'. Collective.
void sum_scores(std::span<SequenceScore> scores, comm::Communicator& ranks);

/// Next-token cross-entropy over batches of all ranks: sum over tokens, and their count. Collective.
struct TokenLoss {
  double sum = 0.0;
  std::int64_t tokens = 0;
  [[nodiscard]] double mean() const { return sum / static_cast<double>(tokens); }
};
[[nodiscard]] TokenLoss token_loss(const model::Transformer& model,
                                   std::span<const data::MicroBatch> batches, DType dtype,
                                   comm::Communicator& ranks, Stream& stream);

}  // namespace halo::infer
