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

/// Transposed matrices make products faster in float32 and add in another order. Left as they are for a student without
/// lightning layers, so that one that is its teacher has a loss of exactly 0.
void load_teacher(const PreparedStage& prepared, const ModelSource& teacher, Stream& stream) {
  model::load_parameters(*prepared.teacher_parameters, *teacher.weights);
  const bool may_be_equal = !prepared.config.is_hypenet();
  if (prepared.teacher_parameters->dtype() != DType::kFloat64 && !may_be_equal)
    prepared.teacher_parameters->transpose_matrices(stream);
}

void initialize_all(const ParameterSet& parameters, std::uint64_t seed) {
  for (const model::Parameter& p : parameters.all()) model::initialize(p, seed);
}

PreparedStage prepare_align(const JobContext& context, const ModelSource& teacher) {
  const proto::Train& train = context.job.train();
  PreparedStage prepared =
      assemble_stage(context, hybrid_of(teacher.config, {}, train, {}), &teacher.config);
  load_teacher(prepared, teacher, context.stream);
  if (train.student().empty()) {
    method::transfer(*prepared.parameters, prepared.config, {*teacher.weights, teacher.config},
                     context.seed());
  } else {
    model::load_parameters(*prepared.parameters,
                           *open_model(train.student(), context.config.output()).weights);
  }
  return prepared;
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
PreparedStage prepare_distill(const JobContext& context, const ModelSource& teacher) {
  const proto::Train& train = context.job.train();
  ModelSource student;
  if (!train.student().empty()) student = open_model(train.student(), context.config.output());
  const model::ModelConfig config = distilled_config(context, teacher, student);
  HALO_REQUIRE_INPUT(config.vocab_size == teacher.config.vocab_size,
                     str("student ", student.reference, " has a vocabulary of ", config.vocab_size,
                         ", its teacher one of ", teacher.config.vocab_size));
  PreparedStage prepared = assemble_stage(context, config, &teacher.config);
  load_teacher(prepared, teacher, context.stream);
  if (student.weights != nullptr && !student.mixers_only) {
    model::load_parameters(*prepared.parameters, *student.weights);
  } else {
    method::build_hybrid(*prepared.parameters, config, {*teacher.weights, teacher.config},
                         student.weights.get(), context.seed());
  }
  return prepared;
}

PreparedStage prepare_finetune(const JobContext& context) {
  const ModelSource student = open_model(context.job.train().student(), context.config.output());
  HALO_REQUIRE_INPUT(!student.mixers_only,
                     str("student ", student.reference, " holds mixers alone, not a whole model"));
  PreparedStage prepared = assemble_stage(context, for_training(student.config), nullptr);
  prepared.tokenizer = student.tokenizer;
  model::load_parameters(*prepared.parameters, *student.weights);
  return prepared;
}

PreparedStage prepare_pretrain(const JobContext& context) {
  const std::string& reference = context.job.train().model();
  PreparedStage prepared = assemble_stage(
      context, for_training(read_referenced_config(reference, context.config.output())), nullptr);
  prepared.tokenizer = tokenizer_of(reference, context.config.output());
  initialize_all(*prepared.parameters, context.seed());
  return prepared;
}

std::unique_ptr<train::Stage> make_stage(const PreparedStage& prepared, const JobContext& context) {
  const proto::Train& train = context.job.train();
  Stream& stream = context.stream;
  switch (train.stage()) {
    case proto::ALIGN:
      return std::make_unique<method::AlignStage>(*prepared.teacher, prepared.config,
                                                  *prepared.parameters, stream);
    case proto::DISTILL:
      return std::make_unique<method::DistillStage>(
          *prepared.teacher, *prepared.student, *prepared.parameters, train.recompute(), stream);
    case proto::FINETUNE:
    case proto::PRETRAIN:
      return std::make_unique<method::FinetuneStage>(
          train.stage() == proto::PRETRAIN ? "pretrain" : "finetune", *prepared.student,
          *prepared.parameters, train.recompute(), stream);
  }
  throw Error(str("no such stage: ", static_cast<int>(train.stage())));
}

}  // namespace

model::ModelConfig hybrid_of(const model::ModelConfig& teacher, const std::vector<int>& keep,
                             const proto::Train& train, const model::HybridOptions& defaults) {
  model::ModelConfig config = model::hybrid_config(teacher, keep, hybrid_options(train, defaults));
  if (train.has_tie_word_embeddings()) config.tie_word_embeddings = train.tie_word_embeddings();
  return config;
}

std::vector<model::ParameterSpec> trained_specs(const JobContext& context,
                                                const model::ModelConfig& student,
                                                const std::vector<model::LayerRange>& ranges) {
  return context.job.train().stage() == proto::ALIGN ? method::align_specs(student, ranges)
                                                     : model::parameter_specs(student, ranges);
}

PreparedStage assemble_stage(const JobContext& context, const model::ModelConfig& student,
                             const model::ModelConfig* teacher) {
  const proto::Train& train = context.job.train();
  PreparedStage prepared;
  prepared.config = student;
  prepared.parts = std::make_unique<ModelParts>(
      context.mesh, context.job, student,
      layer_costs(teacher, student, train.stage() == proto::ALIGN, train.data().sequence_length()));
  const ModelParts& parts = *prepared.parts;
  if (teacher != nullptr) {
    prepared.teacher_parameters = std::make_unique<ParameterSet>(
        context.stream, model::parameter_specs(*teacher, parts.ranges()), context.dtype(),
        ParameterSet::Use::kFrozen, parts.place(*teacher));
    prepared.teacher =
        std::make_unique<method::Chunks>(parts.chunks(*teacher, *prepared.teacher_parameters));
  }
  prepared.parameters = std::make_unique<ParameterSet>(
      context.stream, trained_specs(context, student, parts.ranges()), context.dtype(),
      ParameterSet::Use::kTrained, parts.place(student));
  if (train.stage() != proto::ALIGN)
    prepared.student =
        std::make_unique<method::Chunks>(parts.chunks(student, *prepared.parameters));
  prepared.stage = make_stage(prepared, context);
  return prepared;
}

PreparedStage prepare_stage(const JobContext& context) {
  const proto::Train& train = context.job.train();
  PreparedStage prepared;
  if (train.stage() == proto::ALIGN || train.stage() == proto::DISTILL) {
    const ModelSource teacher = open_teacher(context);
    prepared = train.stage() == proto::ALIGN ? prepare_align(context, teacher)
                                             : prepare_distill(context, teacher);
    prepared.tokenizer = teacher.tokenizer;
    prepared.notes = {{"teacher", teacher.reference},
                      {"teacher_fingerprint", fingerprint(teacher)}};
  } else {
    prepared =
        train.stage() == proto::FINETUNE ? prepare_finetune(context) : prepare_pretrain(context);
  }
  if (!train.student_weights().empty()) {
    const auto all = trained_specs(context, prepared.config, {model::all_layers(prepared.config)});
    model::replace_parameters(*prepared.parameters, all,
                              *model::open_weights(train.student_weights()));
  }
  return prepared;
}

}  // namespace halo::launch
