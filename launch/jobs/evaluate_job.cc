#include <cmath>

#include "core/base/file.h"
#include "launch/jobs/batches.h"
#include "launch/jobs/evaluation.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {
namespace {

constexpr std::int64_t kMicroSequences = 8;
constexpr std::int64_t kMaxTaskTokens = 4096;

const proto::Job* find_job(const Config& config, std::string_view name) {
  for (const proto::Job& job : config.job()) {
    if (job.name() == name) return &job;
  }
  return nullptr;
}

/// The layers that an align job's mixers replace: all that `keep_attention_from` does not keep.
std::vector<int> replaced_layers(const JobContext& context, int layers) {
  const proto::Evaluate& evaluate = context.job.evaluate();
  std::vector<int> kept;
  if (!evaluate.keep_attention_from().empty()) {
    kept = selected_layers(evaluate.keep_attention_from(), context.config.output());
  }
  std::vector<int> replaced;
  for (int layer = 0; layer < layers; ++layer) {
    if (std::find(kept.begin(), kept.end(), layer) == kept.end()) replaced.push_back(layer);
  }
  return replaced;
}

/// HyPE's scaling is chosen after training: the job may try another than the model's.
ModelSource open_scaled(const JobContext& context, const std::string& reference) {
  ModelSource source = open_model(reference, context.config.output());
  const std::string& scaling = context.job.evaluate().attn_logits_scaling();
  if (scaling.empty()) return source;
  HALO_REQUIRE_INPUT(!source.mixers_only && source.config.is_hypenet(),
                     str(reference, " is no whole HypeNet: attn_logits_scaling is HypeNet's"));
  source.config.attn_logits_scaling = model::parse_logits_scaling(scaling);
  return source;
}

EvaluatedModel load(const JobContext& context, const std::string& reference) {
  const std::filesystem::path output = context.config.output();
  const ModelSource source = open_scaled(context, reference);
  if (!source.mixers_only) return load_whole(source, context.dtype(), context.stream);
  const proto::Job* align = find_job(context.config, referenced_job(reference));
  HALO_REQUIRE_INPUT(
      align != nullptr,
      str(reference, " holds mixers alone: evaluate it as \"job:NAME\" of this config"));
  const ModelSource teacher = open_model(align->train().teacher(), output);
  return load_aligned(teacher, source, replaced_layers(context, teacher.config.num_hidden_layers),
                      context.dtype(), context.stream);
}

ModelEvaluation evaluate_model(const JobContext& context, const EvaluatedModel& model,
                               std::span<const data::MicroBatch> batches,
                               const std::vector<infer::Task>& tasks) {
  ModelEvaluation result;
  result.model = model.name;
  const bool has_tokenizer = std::filesystem::exists(model.tokenizer / "tokenizer.json");
  std::optional<data::Tokenizer> tokenizer;
  if (has_tokenizer) tokenizer.emplace(model.tokenizer / "tokenizer.json");
  if (context.job.evaluate().tokens_size() > 0) {
    const infer::TokenLoss loss = infer::token_loss(model.transformer(), batches, context.dtype(),
                                                    context.world(), context.stream);
    result.loss = loss.mean();
    result.perplexity = std::exp(loss.mean());
    if (tokenizer) {
      const std::int64_t bytes = text_bytes(batches, *tokenizer, context.world());
      if (bytes > 0) result.bits_per_byte = loss.sum / std::log(2.0) / static_cast<double>(bytes);
    }
  }
  HALO_REQUIRE_INPUT(tasks.empty() || tokenizer,
                     str(model.name, " has no tokenizer.json, which tasks need"));
  for (const infer::Task& task : tasks) {
    result.tasks[task.name] =
        infer::score_task(model.transformer(), task, *tokenizer, kMaxTaskTokens, context.dtype(),
                          context.world(), context.stream);
  }
  return result;
}

}  // namespace

JobOutcome run_evaluate_job(const JobContext& context) {
  const proto::Evaluate& evaluate = context.job.evaluate();
  const auto tasks = infer::read_tasks({evaluate.tasks().begin(), evaluate.tasks().end()},
                                       evaluate.max_examples());
  std::vector<data::MicroBatch> batches;
  if (evaluate.tokens_size() > 0) {
    batches = held_out_batches({{evaluate.tokens().begin(), evaluate.tokens().end()},
                                evaluate.sequences(),
                                evaluate.sequence_length(),
                                kMicroSequences,
                                evaluate.document_masks()},
                               context.mesh);
  }
  std::vector<ModelEvaluation> results;
  for (const std::string& reference : evaluate.models()) {
    if (context.stop_agreed()) return JobOutcome::kStopped;
    const EvaluatedModel model = load(context, reference);
    require_vocabulary({evaluate.tokens().begin(), evaluate.tokens().end()},
                       model.transformer().config().vocab_size);
    results.push_back(evaluate_model(context, model, batches, tasks));
  }
  if (!context.is_first_rank()) return JobOutcome::kDone;
  context.begin_folder();
  write_file_atomically(context.folder().result(), evaluations_to_json(results));
  return JobOutcome::kDone;
}

}  // namespace halo::launch
