#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/infer/scoring.h"
#include "core/model/loaded_model.h"
#include "launch/jobs/model_reference.h"

namespace halo::launch {

/// What a model scores on held-out text and on tasks.
struct ModelEvaluation {
  std::string model;                    // as named
  std::optional<double> loss;           // mean next-token cross-entropy, nats
  std::optional<double> perplexity;     // e^loss
  std::optional<double> bits_per_byte;  // of the text that the tokens decode to
  std::map<std::string, double> tasks;  // by task name
};

/// A model to evaluate, kept alive with its weights.
struct EvaluatedModel {
  std::string name;
  model::LoadedModel base;                          // a whole model, or an align job's teacher
  std::unique_ptr<model::ParameterSet> mixers;      // of an align job
  std::unique_ptr<model::Transformer> with_mixers;  // likewise
  std::filesystem::path tokenizer;
  [[nodiscard]] const model::Transformer& transformer() const {
    return with_mixers ? *with_mixers : *base.transformer;
  }
};

/// Loads a model that is whole.
[[nodiscard]] EvaluatedModel load_whole(const ModelSource& source, DType dtype, Stream& stream);
/// The teacher with the aligned mixers in place of all layers that are not kept.
[[nodiscard]] EvaluatedModel load_aligned(const ModelSource& teacher, const ModelSource& mixers,
                                          const std::vector<int>& layers, DType dtype,
                                          Stream& stream);

/// Bytes of text that the scored tokens of batches of all ranks stand for. Collective.
[[nodiscard]] std::int64_t text_bytes(std::span<const data::MicroBatch> batches,
                                      const data::Tokenizer& tokenizer, comm::Communicator& ranks);

/// JSON of a list of results, doubles at full precision, and back. parse throws InputError.
[[nodiscard]] std::string evaluations_to_json(const std::vector<ModelEvaluation>& evaluations);
[[nodiscard]] std::vector<ModelEvaluation> parse_evaluations(std::string_view json,
                                                             const std::string& name);

}  // namespace halo::launch
