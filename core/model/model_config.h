#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace halo::model {

enum class MixerType : std::uint8_t { kAttention, kLightning };

/// What multiplies q in the softmax attention layers at inference: nothing, a constant, or HyPE's
/// log(position + value) / log(value).
struct LogitsScaling {
  enum class Kind : std::uint8_t { kNone, kConstant, kHype };
  Kind kind = Kind::kNone;
  double value = 0.0;
  [[nodiscard]] bool operator==(const LogitsScaling&) const = default;
};
/// From "none", "hype BASE" or a number. Throws InputError for anything else, or a base that is not above 1.
[[nodiscard]] LogitsScaling parse_logits_scaling(std::string_view text);

/// A Qwen3 or HypeNet architecture: the fields of its Hugging Face config.json that the program computes with.
struct ModelConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  int num_key_value_heads = 0;
  int head_dim = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 1e6;
  bool tie_word_embeddings = true;

  std::vector<MixerType> mixer_types;  // one a layer; empty for Qwen3: softmax attention everywhere
  bool attn_use_rope = true;           // HypeNet: false
  bool attn_use_output_gate = false;   // HypeNet: true
  LogitsScaling attn_logits_scaling;
  int lightning_nh = 0;   // query heads
  int lightning_nkv = 0;  // key and value heads; divides lightning_nh
  int lightning_head_dim = 0;
  bool lightning_use_rope = true;
  bool lightning_use_qk_norm = true;
  bool lightning_use_output_norm = true;
  bool lightning_use_output_gate = true;

  std::string other_fields =
      "{}";  // JSON object of everything else in the file, written back on export

  [[nodiscard]] bool is_hypenet() const { return !mixer_types.empty(); }
  [[nodiscard]] MixerType mixer(int layer) const {
    return is_hypenet() ? mixer_types[static_cast<std::size_t>(layer)] : MixerType::kAttention;
  }
  [[nodiscard]] bool operator==(const ModelConfig&) const = default;
};

/// Reads a config.json. Throws InputError naming `name`, the field and the reason: no JSON, wrong types, another model,
/// sizes out of range, heads that do not divide, an option that this program does not compute (attention_bias, sliding
/// windows, scaled RoPE, another activation).
[[nodiscard]] ModelConfig parse_model_config(std::string_view json, const std::string& name);
/// The same from a file, or from the config.json of a folder.
[[nodiscard]] ModelConfig read_model_config(const std::filesystem::path& path);
/// The config.json of a model, every field of its architecture written out.
[[nodiscard]] std::string to_json(const ModelConfig& config);

/// What of HypeNet's architecture a conversion may choose; the defaults are the method's.
struct HybridOptions {
  bool attn_use_rope = false;
  bool attn_use_output_gate = true;
  int lightning_nkv = 0;  // 0: one key and value head for each query head
  bool lightning_use_rope = true;
  bool lightning_use_qk_norm = true;
  bool lightning_use_output_norm = true;
  bool lightning_use_output_gate = true;
  bool operator==(const HybridOptions&) const = default;
};
/// The student architecture: `keep` layers stay softmax attention, the others become lightning attention.
/// Throws InputError for a layer outside the model, a layer named twice, or heads that do not divide.
[[nodiscard]] ModelConfig hybrid_config(const ModelConfig& teacher, const std::vector<int>& keep,
                                        const HybridOptions& options);
/// The options that give a hybrid's config.
[[nodiscard]] HybridOptions hybrid_options_of(const ModelConfig& hybrid);
/// The teacher with the mixers of some layers replaced; the others keep RoPE and no gate. With one layer it is M(layer) of
/// layer selection. Source: oracle `single_replacement`.
[[nodiscard]] ModelConfig replacement_config(const ModelConfig& teacher,
                                             const std::vector<int>& layers,
                                             const HybridOptions& options);

}  // namespace halo::model
