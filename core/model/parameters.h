#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "core/model/layer_hooks.h"
#include "core/model/model_config.h"
#include "parallel/placement.h"

namespace halo::model {

/// How a fresh parameter is drawn: N(0, value^2), U(-value, value), or ones.
struct Initializer {
  enum class Kind : std::uint8_t { kNormal, kUniform, kOnes };
  Kind kind = Kind::kNormal;
  double value = 0.02;
};

struct ParameterSpec {
  std::string name;  // the Hugging Face name
  Shape shape;       // of the whole tensor
  Initializer init;
  parallel::Placement placement;  // on the tensor axis
};

/// Layers [begin, end) of a model. The first layer's range holds the embedding, the last one's the final norm and the
/// head, which is the embedding once more when they are tied.
struct LayerRange {
  int begin = 0;
  int end = 0;
  [[nodiscard]] bool operator==(const LayerRange&) const = default;
};
[[nodiscard]] inline LayerRange all_layers(const ModelConfig& config) {
  return {0, config.num_hidden_layers};
}

/// Every parameter of a model, in the order of its forward pass.
[[nodiscard]] std::vector<ParameterSpec> parameter_specs(const ModelConfig& config);
/// Those of some ranges of layers, each once.
[[nodiscard]] std::vector<ParameterSpec> parameter_specs(const ModelConfig& config,
                                                         const std::vector<LayerRange>& ranges);
/// Numbers that a list of parameters holds.
[[nodiscard]] double parameter_elements(const std::vector<ParameterSpec>& specs);
/// Those of layer `layer`'s mixer alone.
[[nodiscard]] std::vector<ParameterSpec> mixer_specs(const ModelConfig& config, int layer);
[[nodiscard]] std::string layer_prefix(int layer);  // "model.layers.3."
[[nodiscard]] std::string mixer_prefix(int layer);  // "model.layers.3.self_attn."
inline constexpr const char* kEmbedding = "model.embed_tokens.weight";
inline constexpr const char* kHead = "lm_head.weight";

/// A rank's place among those that hold parts of a model.
struct ParameterPlace {
  int tensor_rank = 0;
  int tensor_ranks = 1;
  bool is_first_stage = true;  // of the pipeline
  bool embedding_at_both_ends =
      false;  // tied embeddings on a pipeline of several stages: the first one's count
};
/// What the rank holds of a parameter, and the part of it that no other rank counts.
[[nodiscard]] parallel::Region held_region(const ParameterSpec& spec, const ParameterPlace& place);
[[nodiscard]] parallel::Region counted_region(const ParameterSpec& spec,
                                              const ParameterPlace& place);

/// One parameter: (name, whole shape, this rank's slice) and its memory.
struct Parameter {
  std::string name;
  Shape global_shape;
  parallel::Region region;   // what this rank holds
  parallel::Region counted;  // the part of it that no other rank counts
  bool shared =
      false;  // other ranks of the tensor axis hold some of it: their gradients are summed
  bool at_both_ends = false;  // of the pipeline, likewise
  Initializer init;
  TensorView weight;         // of region.shape
  TensorView grad;           // likewise, in the wide dtype; empty for a frozen parameter
  Stream* stream = nullptr;  // that its memory belongs to
  bool* grad_is_clear =
      nullptr;  // whether grad counts as zero, whatever it holds; null for a frozen parameter
};

/// The layer that a parameter belongs to, as LayerHooks counts them.
[[nodiscard]] int layer_of(const Parameter& parameter);

/// Gradient of a matrix += d_out^T in, for d_out (N, O), in (N, I) and a matrix (O, I); the first after clear_gradients
/// overwrites. Nothing for a frozen parameter.
void add_matrix_gradient(const Parameter& parameter, TensorView d_out, TensorView in,
                         Stream& stream);
/// Writes the zeros of a gradient that only counts as zero. Nothing for a frozen parameter.
void settle_gradient(const Parameter& parameter, Stream& stream);
/// The gradient, settled, for what adds to it; empty for a frozen parameter.
[[nodiscard]] inline TensorView settled_gradient(const Parameter& parameter, Stream& stream) {
  settle_gradient(parameter, stream);
  return parameter.grad;
}

/// Finds a parameter by its name; throws Error when there is none. Models look their weights up through one of these, so
/// that a model can be put together from several sets.
using ParameterLookup = std::function<const Parameter&(const std::string& name)>;

/// The parameters of one model on one rank, in flat memory: weights of one dtype, and gradients in the wide dtype when
/// trained. Each parameter is contiguous and starts at a multiple of 64 bytes.
class ParameterSet {
 public:
  enum class Use : std::uint8_t { kFrozen, kTrained };
  ParameterSet(Stream& stream, const std::vector<ParameterSpec>& specs, DType dtype, Use use,
               const ParameterPlace& place);
  ParameterSet(Stream& stream, const std::vector<ParameterSpec>& specs, DType dtype, Use use)
      : ParameterSet(stream, specs, dtype, use, ParameterPlace{}) {}

  [[nodiscard]] const std::vector<Parameter>& all() const { return parameters_; }
  [[nodiscard]] const Parameter* find(const std::string& name) const;  // null when there is none
  [[nodiscard]] const Parameter& at(const std::string& name) const;    // throws Error
  [[nodiscard]] ParameterLookup lookup() const {
    return [this](const std::string& name) -> const Parameter& { return at(name); };
  }
  [[nodiscard]] DType dtype() const { return weights_.view().dtype; }
  [[nodiscard]] bool trained() const { return !gradients_.empty(); }
  [[nodiscard]] std::int64_t count() const;  // of numbers of the whole tensors

  /// All weights or gradients as one flat array; what lies between parameters is zero and means nothing.
  [[nodiscard]] TensorView flat_weights() const { return weights_; }
  [[nodiscard]] TensorView flat_gradients() const { return gradients_; }
  /// Makes all gradients zero when they are first added to or settled, which saves a pass over memory.
  void clear_gradients() const;
  /// Settles what nothing has been added to. Call before reading flat_gradients after clear_gradients.
  void settle_gradients(Stream& stream) const;
  /// Says that every gradient holds what it counts as: after work that wrote them without being called.
  void mark_gradients_settled() const;
  /// Lays out the matrices of a frozen set as forward products read them fastest: transposed in memory, under views of
  /// the same shape. Not the embedding, whose rows are looked up. Once a set, after its weights have been loaded.
  void transpose_matrices(Stream& stream);
  /// Where a parameter starts in the flat arrays, in elements.
  [[nodiscard]] std::int64_t flat_offset(const Parameter& parameter) const;

 private:
  Tensor weights_;
  Tensor gradients_;
  std::unique_ptr<bool[]> clear_;  // of each parameter
  std::vector<Parameter> parameters_;
  std::map<std::string, std::size_t> index_;
};

/// Draws a parameter's fresh values, which depend on (seed, name, index in the whole tensor) alone. They are rounded to
/// float32 in every precision, so that all precisions start from the same numbers.
void initialize(const Parameter& parameter, std::uint64_t seed);

}  // namespace halo::model
