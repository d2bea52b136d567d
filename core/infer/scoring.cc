#include "core/infer/scoring.h"

#include <algorithm>
#include <numeric>

#include "core/base/host_access.h"
#include "core/infer/generate.h"
#include "core/infer/generation_task.h"
#include "data/batch_views.h"

namespace halo::infer {
namespace {

constexpr std::int64_t kBatchRows = 4096;

ScoredBatch make_batch(std::span<const ScoredSequence> sequences, std::vector<std::size_t> lanes) {
  ScoredBatch batch;
  batch.B = static_cast<std::int64_t>(lanes.size());
  for (const std::size_t i : lanes) {
    batch.T = std::max(batch.T, static_cast<std::int64_t>(sequences[i].tokens.size()));
  }
  const auto rows = static_cast<std::size_t>(batch.T * batch.B);
  batch.tokens.assign(rows, 0);
  batch.labels.assign(rows, -1);
  for (std::size_t b = 0; b < lanes.size(); ++b) {
    const ScoredSequence& s = sequences[lanes[b]];
    for (std::size_t t = 0; t < s.tokens.size(); ++t) {
      batch.tokens[t * lanes.size() + b] = s.tokens[t];
      const bool scored =
          static_cast<std::int64_t>(t) + 1 >= s.answer_begin && t + 1 < s.tokens.size();
      if (scored) batch.labels[t * lanes.size() + b] = s.tokens[t + 1];
    }
  }
  batch.sequences = std::move(lanes);
  return batch;
}

/// The batches of one rank: every size-th.
template <class Batch>
std::vector<const Batch*> share_of(std::span<const Batch> batches,
                                   const comm::Communicator& ranks) {
  std::vector<const Batch*> mine;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    if (static_cast<int>(i % static_cast<std::size_t>(ranks.size())) == ranks.rank())
      mine.push_back(&batches[i]);
  }
  return mine;
}

double score_generation(const model::Transformer& model, const Task& task,
                        const data::Tokenizer& tokenizer, std::int64_t max_tokens, DType dtype,
                        comm::Communicator& ranks, Stream& stream) {
  // Of every example on every rank, so that all ranks find the same faults.
  const std::vector<GenerationPrompt> prompts = generation_prompts(task, tokenizer, max_tokens);
  double right = 0;
  for (const GenerationPrompt* prompt : share_of<GenerationPrompt>(prompts, ranks)) {
    const std::vector<std::int32_t> continuation =
        generate_greedy(model, prompt->tokens, prompt->new_tokens, {}, dtype, stream);
    if (is_answered(*prompt, continuation, tokenizer)) right += 1;
  }
  ranks.all_reduce(view(&right, {1}), comm::ReduceOp::kSum).wait();
  return right / static_cast<double>(prompts.size());
}

double example_score(const TaskExample& example, std::span<const ScoredSequence> sequences,
                     std::span<const SequenceScore> scores) {
  if (example.type != TaskExample::Type::kChoice) {
    return static_cast<double>(scores[0].greedy_matches) / static_cast<double>(scores[0].tokens);
  }
  std::size_t best = 0;
  const auto per_character = [&](std::size_t i) {
    return scores[i].log_likelihood / static_cast<double>(sequences[i].characters);
  };
  for (std::size_t i = 1; i < scores.size(); ++i) {
    if (per_character(i) > per_character(best)) best = i;
  }
  return static_cast<int>(best) == example.correct ? 1.0 : 0.0;
}

}  // namespace

std::vector<ScoredBatch> scored_batches(std::span<const ScoredSequence> sequences,
                                        std::int64_t max_rows) {
  std::vector<std::size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return sequences[a].tokens.size() > sequences[b].tokens.size();
  });
  std::vector<ScoredBatch> batches;
  for (std::size_t begin = 0; begin < order.size();) {
    const auto longest = static_cast<std::int64_t>(sequences[order[begin]].tokens.size());
    const auto lanes = static_cast<std::size_t>(std::max<std::int64_t>(1, max_rows / longest));
    const std::size_t end = std::min(order.size(), begin + lanes);
    batches.push_back(make_batch(sequences, {order.begin() + static_cast<std::ptrdiff_t>(begin),
                                             order.begin() + static_cast<std::ptrdiff_t>(end)}));
    begin = end;
  }
  return batches;
}

void score_batch(std::span<SequenceScore> scores, const ScoredBatch& batch, TensorView h,
                 const model::Head& head, Stream& stream) {
  std::vector<std::size_t> scored;  // the rows that have a label: the head sees no others
  for (std::size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] >= 0) scored.push_back(i);
  }
  const Shape shape{static_cast<std::int64_t>(scored.size())};
  Tensor rows(stream, {shape[0], h.dim(1)}, h.dtype);
  std::vector<std::int32_t> labels, greedy(scored.size());
  for (const std::size_t i : scored) {
    const auto at = static_cast<std::int64_t>(labels.size());
    copy(rows.view().slice(0, at, at + 1),
         h.slice(0, static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1), stream);
    labels.push_back(batch.labels[i]);
  }
  std::vector<double> loss(scored.size());
  {
    const Tensor losses(stream, shape, DType::kFloat64), best(stream, shape, DType::kInt32);
    const OnDevice labels_there(view(labels.data(), shape), stream);
    head.log_likelihood(losses, best, rows, labels_there, stream);
    copy(view(loss.data(), shape), losses, stream);
    copy(view(greedy.data(), shape), best, stream);
  }
  for (std::size_t k = 0; k < scored.size(); ++k) {
    SequenceScore& score = scores[batch.sequences[scored[k] % batch.sequences.size()]];
    score.log_likelihood -= loss[k];
    score.tokens += 1;
    score.greedy_matches += greedy[k] == labels[k] ? 1 : 0;
  }
}

double task_score(const Task& task, std::span<const ScoredSequence> sequences,
                  std::span<const SequenceScore> scores) {
  double sum = 0.0;
  std::size_t at = 0;
  for (const TaskExample& example : task.examples) {
    const std::size_t n = example.answers.size();
    sum += example_score(example, sequences.subspan(at, n), scores.subspan(at, n));
    at += n;
  }
  return sum / static_cast<double>(task.examples.size());
}

void sum_scores(std::span<SequenceScore> scores, comm::Communicator& ranks) {
  std::vector<double> flat;
  for (const SequenceScore& s : scores) {
    flat.insert(flat.end(), {s.log_likelihood, static_cast<double>(s.tokens),
                             static_cast<double>(s.greedy_matches)});
  }
  ranks
      .all_reduce(view(flat.data(), {static_cast<std::int64_t>(flat.size())}), comm::ReduceOp::kSum)
      .wait();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[i] = {flat[3 * i], static_cast<std::int64_t>(flat[3 * i + 1]),
                 static_cast<std::int64_t>(flat[3 * i + 2])};
  }
}

double score_task(const model::Transformer& model, const Task& task,
                  const data::Tokenizer& tokenizer, std::int64_t max_tokens, DType dtype,
                  comm::Communicator& ranks, Stream& stream) {
  if (task.type == TaskExample::Type::kGeneration) {
    return score_generation(model, task, tokenizer, max_tokens, dtype, ranks, stream);
  }
  const std::vector<ScoredSequence> sequences = scored_sequences(task, tokenizer, max_tokens);
  const std::vector<ScoredBatch> batches = scored_batches(sequences, kBatchRows);
  std::vector<SequenceScore> scores(sequences.size());
  model::RopeTables rope(model.config(), dtype);
  for (const ScoredBatch* batch : share_of<ScoredBatch>(batches, ranks)) {
    const Tensor h = model.hidden(view(batch->tokens.data(), {batch->T * batch->B}),
                                  rope.sequence(batch->T, batch->B, 0, stream), stream);
    score_batch(scores, *batch, h, model.head(), stream);
  }
  sum_scores(scores, ranks);
  return task_score(task, sequences, scores);
}

TokenLoss token_loss(const model::Transformer& model, std::span<const data::MicroBatch> batches,
                     DType dtype, comm::Communicator& ranks, Stream& stream) {
  model::RopeTables rope(model.config(), dtype);
  double totals[2] = {0.0, 0.0};
  const Tensor sum = Tensor::zeros(stream, {1}, DType::kFloat64);
  for (const data::MicroBatch& batch : batches) {
    if (batch.B == 0) continue;
    model::Sequence sequence = rope.sequence(batch.T, batch.B, 0, stream);
    const OnDevice starts(data::document_starts(batch), stream);
    sequence.document_start = starts;
    const std::vector<std::int32_t> labels = data::next_token_labels(batch);
    const OnDevice labels_there(view(labels.data(), {batch.T * batch.B}), stream);
    const Tensor h = model.hidden(data::token_ids(batch), sequence, stream);
    model.head().ce_loss(sum, {}, h, labels_there, 0.0, stream);
    totals[1] += static_cast<double>(
        std::count_if(labels.begin(), labels.end(), [](auto l) { return l >= 0; }));
  }
  copy(view(totals, {1}), sum, stream);
  ranks.all_reduce(view(totals, {2}), comm::ReduceOp::kSum).wait();
  return {totals[0], static_cast<std::int64_t>(totals[1])};
}

}  // namespace halo::infer
