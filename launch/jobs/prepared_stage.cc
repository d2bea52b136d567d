#include "launch/jobs/prepared_stage.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/halo/align.h"
#include "core/halo/distill.h"
#include "core/halo/finetune.h"
#include "core/halo/transfer.h"
#include "launch/jobs/model_reference.h"

namespace halo::launch {
namespace {

using model::ParameterSet;

/// What the job says of the student's blocks, and where it says nothing, `options`.
model::HybridOptions hybrid_options(const proto::Train& train, model::HybridOptions options) {
  const auto set = [](bool& option, bool given, bool value) { option = given ? value : option; };
  set(options.attn_use_rope, train.has_attn_use_rope(), train.attn_use_rope());
  set(options.attn_use_output_gate, train.has_attn_use_output_gate(), train.attn_use_output_gate());
  set(options.lightning_use_rope, train.has_lightning_use_rope(), train.lightning_use_rope());
  set(options.lightning_use_qk_norm, train.has_lightning_use_qk_norm(),
      train.lightning_use_qk_norm());
  set(options.lightning_use_output_norm, train.has_lightning_use_output_norm(),
      train.lightning_use_output_norm());
  set(options.lightning_use_output_gate, train.has_lightning_use_output_gate(),
      train.lightning_use_output_gate());
  if (train.has_lightning_nkv()) options.lightning_nkv = train.lightning_nkv();
  return options;
}

std::vector<int> kept_layers(const proto::Train& train, const std::filesystem::path& output) {
  if (!train.keep_attention_from().empty())
    return selected_layers(train.keep_attention_from(), output);
  return {train.keep_attention().begin(), train.keep_attention().end()};
}

/// HyPE's scaling of the logits is for inference; the one who exports says which.
model::ModelConfig for_training(model::ModelConfig config) {
  config.attn_logits_scaling = {};
  return config;
}

void require_qwen3(const ModelSource& teacher) {
  HALO_REQUIRE_INPUT(!teacher.mixers_only && !teacher.config.is_hypenet(),
                     str("teacher ", teacher.reference, " is not a Qwen3 Transformer"));
}

ModelSource open_teacher(const JobContext& context) {
  ModelSource teacher = open_model(context.job.train().teacher(), context.config.output());
  require_qwen3(teacher);
  return teacher;
}

std::unique_ptr<ParameterSet> trained_set(const JobContext& context,
                                          const std::vector<model::ParameterSpec>& specs) {
  return std::make_unique<ParameterSet>(context.stream, specs, context.dtype(),
                                        ParameterSet::Use::kTrained);
}

void initialize_all(const ParameterSet& parameters, std::uint64_t seed) {
  for (const model::Parameter& p : parameters.all()) model::initialize(p, seed);
}

void prepare_align(PreparedStage& prepared, const JobContext& context, const ModelSource& teacher) {
  const proto::Train& train = context.job.train();
  prepared.config = hybrid_of(teacher.config, {}, train, {});
  prepared.parameters = trained_set(context, method::align_specs(prepared.config));
  if (train.student().empty()) {
    method::transfer(*prepared.parameters, prepared.config, {*teacher.weights, teacher.config},
                     context.seed());
  } else {
    model::load_parameters(*prepared.parameters,
                           *open_model(train.student(), context.config.output()).weights);
  }
  prepared.stage = std::make_unique<method::AlignStage>(
      *prepared.teacher.transformer, prepared.config, *prepared.parameters, context.stream);
}

/// A student that exists has the blocks it was trained with; the job may repeat what they are, not change them.
void require_same_blocks(const proto::Train& train, const ModelSource& student) {
  const model::HybridOptions made = model::hybrid_options_of(student.config);
  model::HybridOptions asked = hybrid_options(train, made);
  if (student.mixers_only) {  // holds no attention block
    asked.attn_use_rope = made.attn_use_rope;
    asked.attn_use_output_gate = made.attn_use_output_gate;
  }
  HALO_REQUIRE_INPUT(
      asked == made,
      str("student ", student.reference,
          " was trained with other attn_* or lightning_* options than this job's; leave them out "
          "here, or align again"));
}

/// The layers that a whole student keeps are its own; the job may repeat them.
void require_same_layers(const JobContext& context, const ModelSource& student) {
  const proto::Train& train = context.job.train();
  if (train.keep_attention_size() == 0 && train.keep_attention_from().empty()) return;
  std::vector<int> asked = kept_layers(train, context.config.output());
  std::ranges::sort(asked);
  std::vector<int> kept;
  for (int i = 0; i < student.config.num_hidden_layers; ++i) {
    if (student.config.mixer(i) == model::MixerType::kAttention) kept.push_back(i);
  }
  HALO_REQUIRE_INPUT(asked == kept, str("student ", student.reference,
                                        " keeps attention in layers ", nlohmann::json(kept).dump(),
                                        ", this job's are ", nlohmann::json(asked).dump()));
}

model::ModelConfig distilled_config(const JobContext& context, const ModelSource& teacher,
                                    const ModelSource& student) {
  const proto::Train& train = context.job.train();
  const bool given = student.weights != nullptr;
  if (given) require_same_blocks(train, student);
  if (given && !student.mixers_only) {
    require_same_layers(context, student);
    HALO_REQUIRE_INPUT(
        !train.has_tie_word_embeddings() ||
            train.tie_word_embeddings() == student.config.tie_word_embeddings,
        str("student ", student.reference, " was made with the other tie_word_embeddings"));
    return for_training(student.config);
  }
  return hybrid_of(teacher.config, kept_layers(train, context.config.output()), train,
                   given ? model::hybrid_options_of(student.config) : model::HybridOptions{});
}

/// The student of the distill stage: a hybrid given whole, or made from the teacher and, when given, aligned mixers.
void prepare_hybrid(PreparedStage& prepared, const JobContext& context,
                    const ModelSource& teacher) {
  const proto::Train& train = context.job.train();
  ModelSource student;
  if (!train.student().empty()) student = open_model(train.student(), context.config.output());
  const bool whole = student.weights != nullptr && !student.mixers_only;
  prepared.config = distilled_config(context, teacher, student);
  HALO_REQUIRE_INPUT(
      prepared.config.vocab_size == teacher.config.vocab_size,
      str("student ", student.reference, " has a vocabulary of ", prepared.config.vocab_size,
          ", its teacher one of ", teacher.config.vocab_size));
  prepared.parameters = trained_set(context, model::parameter_specs(prepared.config));
  if (whole) {
    model::load_parameters(*prepared.parameters, *student.weights);
  } else {
    method::build_hybrid(*prepared.parameters, prepared.config, {*teacher.weights, teacher.config},
                         student.weights.get(), context.seed());
  }
}

void prepare_distill(PreparedStage& prepared, const JobContext& context,
                     const ModelSource& teacher) {
  prepare_hybrid(prepared, context, teacher);
  prepared.student =
      std::make_unique<model::Transformer>(prepared.config, prepared.parameters->lookup());
  prepared.stage = std::make_unique<method::DistillStage>(
      *prepared.teacher.transformer, *prepared.student, *prepared.parameters,
      context.job.train().recompute(), context.stream);
}

/// Finetune starts from a whole student, pretrain from fresh weights.
void prepare_without_teacher(PreparedStage& prepared, const JobContext& context) {
  const proto::Train& train = context.job.train();
  const bool pretrain = train.stage() == proto::PRETRAIN;
  if (pretrain) {
    prepared.config = for_training(read_referenced_config(train.model(), context.config.output()));
    prepared.tokenizer = tokenizer_of(train.model(), context.config.output());
  } else {
    const ModelSource student = open_model(train.student(), context.config.output());
    HALO_REQUIRE_INPUT(!student.mixers_only, str("student ", student.reference,
                                                 " holds mixers alone, not a whole model"));
    prepared.config = for_training(student.config);
    prepared.tokenizer = student.tokenizer;
    prepared.parameters = trained_set(context, model::parameter_specs(prepared.config));
    model::load_parameters(*prepared.parameters, *student.weights);
  }
  if (pretrain) {
    prepared.parameters = trained_set(context, model::parameter_specs(prepared.config));
    initialize_all(*prepared.parameters, context.seed());
  }
  prepared.student =
      std::make_unique<model::Transformer>(prepared.config, prepared.parameters->lookup());
  prepared.stage = std::make_unique<method::FinetuneStage>(pretrain ? "pretrain" : "finetune",
                                                           *prepared.student, *prepared.parameters,
                                                           train.recompute(), context.stream);
}

}  // namespace

model::ModelConfig hybrid_of(const model::ModelConfig& teacher, const std::vector<int>& keep,
                             const proto::Train& train, const model::HybridOptions& defaults) {
  model::ModelConfig config = model::hybrid_config(teacher, keep, hybrid_options(train, defaults));
  if (train.has_tie_word_embeddings()) config.tie_word_embeddings = train.tie_word_embeddings();
  return config;
}

PreparedStage prepare_stage(const JobContext& context) {
  const proto::Train& train = context.job.train();
  PreparedStage prepared;
  if (train.stage() == proto::ALIGN || train.stage() == proto::DISTILL) {
    const ModelSource teacher = open_teacher(context);
    prepared.teacher =
        model::load_model(teacher.config, *teacher.weights, context.dtype(), context.stream);
    prepared.tokenizer = teacher.tokenizer;
    prepared.notes = {{"teacher", teacher.reference},
                      {"teacher_fingerprint", fingerprint(teacher)}};
    train.stage() == proto::ALIGN ? prepare_align(prepared, context, teacher)
                                  : prepare_distill(prepared, context, teacher);
  } else {
    prepare_without_teacher(prepared, context);
  }
  if (!train.student_weights().empty()) {
    model::replace_parameters(*prepared.parameters, *model::open_weights(train.student_weights()));
  }
  return prepared;
}

}  // namespace halo::launch
