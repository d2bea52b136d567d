#include "core/halo/layer_sweep.h"

namespace halo::method {
namespace {

constexpr std::int64_t kBatchRows = 4096;

/// Scores one batch under the teacher (scores[0]) and under each M(i) (scores[1 + i]).
class Sweeper {
 public:
  Sweeper(const SweepInputs& inputs, Stream& stream)
      : teacher_(inputs.teacher_config, inputs.teacher.lookup()),
        rope_(inputs.teacher_config, inputs.teacher.dtype()),
        dtype_(inputs.teacher.dtype()),
        stream_(stream) {
    for (int layer = 0; layer < teacher_.layers(); ++layer) {
      replaced_.push_back(model::replace_mixers(inputs.teacher_config, inputs.teacher,
                                                inputs.mixers, {layer}, inputs.hybrid));
    }
  }

  void score(std::vector<std::vector<infer::SequenceScore>>& scores,
             const infer::ScoredBatch& batch) {
    const model::Sequence sequence = rope_.sequence(batch.T, batch.B, 0, stream_);
    const Shape shape{sequence.rows(), teacher_.config().hidden_size};
    Tensor x(stream_, shape, dtype_);
    teacher_.embed(x, view(batch.tokens.data(), {sequence.rows()}), stream_);
    for (int layer = 0; layer < teacher_.layers(); ++layer) {
      const Tensor branch = Tensor::copy_of(stream_, x);
      const model::Transformer& replaced = replaced_[static_cast<std::size_t>(layer)];
      const Tensor h = replaced.hidden_from(layer, branch, sequence, stream_);
      infer::score_batch(scores[static_cast<std::size_t>(layer) + 1], batch, h, replaced.head(),
                         stream_);
      teacher_.block(layer).infer(x, sequence, nullptr, stream_);
    }
    const Tensor h = teacher_.hidden_from(teacher_.layers(), x, sequence, stream_);
    infer::score_batch(scores[0], batch, h, teacher_.head(), stream_);
  }

  [[nodiscard]] std::size_t models() const { return replaced_.size() + 1; }
  [[nodiscard]] const model::Transformer& model(std::size_t i) const {
    return i == 0 ? teacher_ : replaced_[i - 1];
  }

 private:
  model::Transformer teacher_;
  std::vector<model::Transformer> replaced_;
  model::RopeTables rope_;
  DType dtype_;
  Stream& stream_;
};

std::vector<double> generation_scores(const Sweeper& sweeper, const SweepInputs& inputs,
                                      const infer::Task& task, comm::Communicator& ranks,
                                      Stream& stream) {
  std::vector<double> scores;
  for (std::size_t i = 0; i < sweeper.models(); ++i) {
    scores.push_back(infer::score_task(sweeper.model(i), task, inputs.tokenizer, inputs.max_tokens,
                                       inputs.teacher.dtype(), ranks, stream));
  }
  return scores;
}

/// Scores on given tokens: the teacher's stream is shared.
std::vector<double> token_scores(Sweeper& sweeper, const SweepInputs& inputs,
                                 const infer::Task& task, comm::Communicator& ranks) {
  const auto sequences = infer::scored_sequences(task, inputs.tokenizer, inputs.max_tokens);
  const auto batches = infer::scored_batches(sequences, kBatchRows);
  std::vector<std::vector<infer::SequenceScore>> scores(
      sweeper.models(), std::vector<infer::SequenceScore>(sequences.size()));
  for (std::size_t i = static_cast<std::size_t>(ranks.rank()); i < batches.size();
       i += static_cast<std::size_t>(ranks.size())) {
    sweeper.score(scores, batches[i]);
  }
  std::vector<double> means;
  for (auto& of_model : scores) {
    infer::sum_scores(of_model, ranks);
    means.push_back(infer::task_score(task, sequences, of_model));
  }
  return means;
}

}  // namespace

std::optional<SweepScores> sweep_layers(const SweepInputs& inputs,
                                        const std::vector<infer::Task>& tasks,
                                        comm::Communicator& ranks, Stream& stream,
                                        const std::function<bool()>& stop) {
  Sweeper sweeper(inputs, stream);
  std::vector<LayerScore> sums(sweeper.models());
  int recall_tasks = 0, choice_tasks = 0;
  for (const infer::Task& task : tasks) {
    if (stop()) return std::nullopt;
    const bool recall = infer::measures_recall(task);
    (recall ? recall_tasks : choice_tasks) += 1;
    const std::vector<double> scores = task.type == infer::TaskExample::Type::kGeneration
                                           ? generation_scores(sweeper, inputs, task, ranks, stream)
                                           : token_scores(sweeper, inputs, task, ranks);
    for (std::size_t i = 0; i < sums.size(); ++i)
      (recall ? sums[i].recall : sums[i].csr) += scores[i];
  }
  HALO_REQUIRE_INPUT(recall_tasks > 0 && choice_tasks > 0,
                     str("layer selection needs recall and choice tasks: there are ", recall_tasks,
                         " and ", choice_tasks));
  for (LayerScore& score : sums) {
    score.recall /= recall_tasks;
    score.csr /= choice_tasks;
  }
  return SweepScores{sums.front(), {sums.begin() + 1, sums.end()}};
}

}  // namespace halo::method
