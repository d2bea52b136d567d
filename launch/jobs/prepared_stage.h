#pragma once
#include <map>
#include <memory>
#include <string>

#include "core/halo/student_pass.h"
#include "core/train/stage.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/model_parts.h"

namespace halo::launch {

/// A training job's stage with all that it needs kept alive: the frozen teacher, the student's parameters, their first
/// weights.
struct PreparedStage {
  std::unique_ptr<ModelParts> parts;  // what of the models this rank holds
  std::unique_ptr<model::ParameterSet> teacher_parameters, parameters;
  std::unique_ptr<method::Chunks> teacher,
      student;  // null without one; the align stage has no student's layers
  std::unique_ptr<train::Stage> stage;
  model::ModelConfig config;        // the student's
  std::filesystem::path tokenizer;  // where its tokenizer's files lie
  std::map<std::string, std::string>
      notes;  // for the checkpoint: the teacher's path and fingerprint
};

/// Builds the stage that a training job asks for, from its teacher and student, with the weights of its first step.
/// Throws InputError for references and options that do not fit.
[[nodiscard]] PreparedStage prepare_stage(const JobContext& context);

/// The same from the architectures alone, with memory for weights but none in it; no file is read. `teacher` is null for
/// stages without one.
[[nodiscard]] PreparedStage assemble_stage(const JobContext& context,
                                           const model::ModelConfig& student,
                                           const model::ModelConfig* teacher);

/// What the job trains of a student, in some of its layers.
[[nodiscard]] std::vector<model::ParameterSpec> trained_specs(
    const JobContext& context, const model::ModelConfig& student,
    const std::vector<model::LayerRange>& ranges);

/// The architecture that a training job makes from a teacher, with `keep` layers as softmax attention; `defaults` are its
/// options where the job gives none: the aligned mixers' own where there are any.
[[nodiscard]] model::ModelConfig hybrid_of(const model::ModelConfig& teacher,
                                           const std::vector<int>& keep, const proto::Train& train,
                                           const model::HybridOptions& defaults);

}  // namespace halo::launch
