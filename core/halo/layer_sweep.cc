#include "core/halo/layer_sweep.h"

#include <algorithm>

#include "core/base/progress_point.h"

namespace halo::method {
namespace {

/// Rows of a batch: a task has some dozens of batches where it can, so that shards come out even, and no batch so small
/// that its passes are slow a row.
std::int64_t batch_rows(const std::vector<infer::ScoredSequence>& sequences) {
  std::int64_t rows = 0;
  for (const infer::ScoredSequence& s : sequences) rows += std::ssize(s.tokens);
  return std::clamp<std::int64_t>(rows / 64, 256, 4096);
}

bool is_generation(const infer::Task& task) {
  return task.type == infer::TaskExample::Type::kGeneration;
}

}  // namespace

LayerSweep::LayerSweep(std::vector<infer::Task> tasks, const data::Tokenizer& tokenizer,
                       std::int64_t max_tokens)
    : tasks_(std::move(tasks)), tokenizer_(tokenizer), max_tokens_(max_tokens) {
  const auto recall = std::ranges::count_if(tasks_, infer::measures_recall);
  HALO_REQUIRE_INPUT(recall > 0 && recall < std::ssize(tasks_),
                     str("layer selection needs recall and choice tasks: there are ", recall,
                         " and ", std::ssize(tasks_) - recall));
  for (std::size_t task = 0; task < tasks_.size(); ++task) add_batches(task);
}

void LayerSweep::add_batches(std::size_t task) {
  sequences_.emplace_back();
  prompts_.emplace_back();
  if (is_generation(tasks_[task])) {
    prompts_.back() = infer::generation_prompts(tasks_[task], tokenizer_, max_tokens_);
    sequences_.back().resize(prompts_.back().size());
    for (std::size_t i = 0; i < prompts_.back().size(); ++i) batches_.push_back({task, {}, i});
    return;
  }
  sequences_.back() = infer::scored_sequences(tasks_[task], tokenizer_, max_tokens_);
  const auto rows = batch_rows(sequences_.back());
  for (infer::ScoredBatch& batch : infer::scored_batches(sequences_.back(), rows))
    batches_.push_back({task, std::move(batch), 0});
}

SweepResult LayerSweep::nothing(int layers) const {
  SweepResult result;
  for (const auto& sequences : sequences_) {
    result.scores.emplace_back(static_cast<std::size_t>(layers) + 1,
                               std::vector<infer::SequenceScore>(sequences.size()));
  }
  return result;
}

std::optional<SweepResult> LayerSweep::measure(const SweepModels& models, const SweepShard& shard,
                                               const std::function<bool()>& stop,
                                               Stream& stream) const {
  BranchingPass pass(models, stop, stream);
  SweepResult result = nothing(pass.layers());
  for (int i = shard.index; i < batches(); i += shard.count) {
    pass_point({"sweeping"});
    const Batch& batch = batches_[static_cast<std::size_t>(i)];
    auto& scores = result.scores[batch.task];
    if (!is_generation(tasks_[batch.task])) {
      if (!pass.score(scores, batch.tokens)) return std::nullopt;
      continue;
    }
    const infer::GenerationPrompt& prompt = prompts_[batch.task][batch.prompt];
    const auto continuations = pass.continuations(prompt);
    if (!continuations) return std::nullopt;
    for (std::size_t model = 0; model < scores.size(); ++model) {
      const bool found = infer::is_answered(prompt, (*continuations)[model], tokenizer_);
      scores[model][batch.prompt] = {0.0, 1, found ? 1 : 0};
    }
  }
  result.passes = pass.passes();
  return result;
}

void LayerSweep::add(SweepResult& sum, const SweepResult& shard) {
  HALO_REQUIRE(shard.scores.size() == sum.scores.size(),
               str("a shard of ", shard.scores.size(), " tasks of ", sum.scores.size()));
  for (std::size_t task = 0; task < sum.scores.size(); ++task) {
    const auto& from = shard.scores[task];
    auto& to = sum.scores[task];
    HALO_REQUIRE(from.size() == to.size(),
                 str("a shard of ", from.size(), " models of ", to.size()));
    for (std::size_t model = 0; model < to.size(); ++model) {
      HALO_REQUIRE(from[model].size() == to[model].size(),
                   str("a shard of ", from[model].size(), " sequences of ", to[model].size()));
      for (std::size_t i = 0; i < to[model].size(); ++i) {
        if (from[model][i].tokens == 0) continue;
        HALO_REQUIRE(to[model][i].tokens == 0,
                     str("sequence ", i, " of task ", task, " was measured twice"));
        to[model][i] = from[model][i];
      }
    }
  }
  sum.passes.batches += shard.passes.batches;
  sum.passes.teacher += shard.passes.teacher;
  sum.passes.branches += shard.passes.branches;
  sum.passes.decoding += shard.passes.decoding;
}

SweepScores LayerSweep::scores(const SweepResult& result) const {
  std::vector<LayerScore> means(result.scores.front().size());
  int recall_tasks = 0;
  for (std::size_t task = 0; task < tasks_.size(); ++task) {
    const bool recall = infer::measures_recall(tasks_[task]);
    recall_tasks += recall ? 1 : 0;
    for (std::size_t model = 0; model < means.size(); ++model) {
      const auto& of_model = result.scores[task][model];
      const auto missing = std::ranges::find(of_model, 0, &infer::SequenceScore::tokens);
      HALO_REQUIRE(missing == of_model.end(),
                   str("sequence ", missing - of_model.begin(), " of task ", tasks_[task].name,
                       " was not measured"));
      const double score = infer::task_score(tasks_[task], sequences_[task], of_model);
      (recall ? means[model].recall : means[model].csr) += score;
    }
  }
  for (LayerScore& mean : means) {
    mean.recall /= recall_tasks;
    mean.csr /= static_cast<double>(tasks_.size()) - recall_tasks;
  }
  return {means.front(), {means.begin() + 1, means.end()}};
}

}  // namespace halo::method
