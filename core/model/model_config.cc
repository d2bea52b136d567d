#include "core/model/model_config.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

namespace halo::model {
namespace {

using nlohmann::json;

constexpr std::int64_t kLargest = std::numeric_limits<int>::max();  // of any size in a config

/// Typed access to the fields of one config.json; taken fields leave the object, so what remains is `other_fields`.
class Fields {
 public:
  Fields(json object, std::string name) : object_(std::move(object)), name_(std::move(name)) {}

  [[noreturn]] void refuse(const std::string& field, const std::string& reason) const {
    throw InputError(str(name_, ": field \"", field, "\": ", reason));
  }
  json take(const std::string& field) {
    const auto at = object_.find(field);
    if (at == object_.end()) return nullptr;
    json value = std::move(*at);
    object_.erase(at);
    return value;
  }
  std::int64_t size(const std::string& field) {
    const json value = take(field);
    if (value.is_null()) refuse(field, "is missing");
    return checked_size(field, value);
  }
  std::int64_t size(const std::string& field, std::int64_t otherwise) {
    const json value = take(field);
    return value.is_null() ? otherwise : checked_size(field, value);
  }
  double number(const std::string& field, double otherwise) {
    const json value = take(field);
    if (value.is_null()) return otherwise;
    if (!value.is_number()) refuse(field, "must be a number, not " + value.dump());
    const double x = value.get<double>();
    if (!std::isfinite(x) || x <= 0) refuse(field, str("must be positive, not ", value.dump()));
    return x;
  }
  bool boolean(const std::string& field, bool otherwise) {
    const json value = take(field);
    if (value.is_null()) return otherwise;
    if (!value.is_boolean()) refuse(field, "must be true or false, not " + value.dump());
    return value.get<bool>();
  }
  std::string text(const std::string& field, const std::string& otherwise) {
    const json value = take(field);
    if (value.is_null()) return otherwise;
    if (!value.is_string()) refuse(field, "must be a string, not " + value.dump());
    return value.get<std::string>();
  }
  /// A field that changes what is computed and that this program computes in one way only.
  void require(const std::string& field, const json& only) const {
    const auto at = object_.find(field);
    if (at == object_.end() || at->is_null() || *at == only) return;
    refuse(field, str(at->dump(), " is not supported, only ", only.dump()));
  }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string rest() const { return object_.dump(); }

 private:
  std::int64_t checked_size(const std::string& field, const json& value) const {
    if (!value.is_number_integer()) refuse(field, "must be a whole number, not " + value.dump());
    const bool fits = value.is_number_unsigned()
                          ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(kLargest)
                          : value.get<std::int64_t>() > 0;
    if (!fits || value.get<std::int64_t>() < 1) {
      refuse(field, str("must be between 1 and ", kLargest, ", not ", value.dump()));
    }
    return value.get<std::int64_t>();
  }

  json object_;
  std::string name_;
};

/// RoPE's base: "rope_theta", or newer files' "rope_parameters" object, which must ask for plain RoPE.
double read_rope_theta(Fields& fields, double otherwise) {
  const json parameters = fields.take("rope_parameters");
  if (parameters.is_null()) return fields.number("rope_theta", otherwise);
  if (!parameters.is_object()) fields.refuse("rope_parameters", "must be an object");
  if (parameters.value("rope_type", json("default")) != "default") {
    fields.refuse("rope_parameters",
                  "only rope_type \"default\" is supported, not " + parameters["rope_type"].dump());
  }
  Fields inside(parameters, fields.name() + ": rope_parameters");
  return inside.number("rope_theta", fields.number("rope_theta", otherwise));
}

void require_supported(const Fields& fields) {
  fields.require("hidden_act", "silu");
  fields.require("attention_bias", false);
  fields.require("use_sliding_window", false);
  fields.require("rope_scaling", nullptr);
  fields.require("expand_kv_proj", true);
  fields.require("lightning_scale", "1/sqrt(d)");
}

std::vector<MixerType> read_mixer_types(Fields& fields, int layers) {
  const json list = fields.take("mixer_types");
  if (!list.is_array() || list.size() != static_cast<std::size_t>(layers)) {
    fields.refuse("mixer_types", str("must list one mixer for each of the ", layers, " layers"));
  }
  std::vector<MixerType> types;
  for (const json& entry : list) {
    if (entry == "attn") {
      types.push_back(MixerType::kAttention);
    } else if (entry == "lightning-attn") {
      types.push_back(MixerType::kLightning);
    } else {
      fields.refuse("mixer_types", entry.dump() + " is neither \"attn\" nor \"lightning-attn\"");
    }
  }
  return types;
}

LogitsScaling read_scaling(Fields& fields) {
  const std::string field = "attn_logits_scaling";
  const json value = fields.take(field);
  if (value.is_null()) return {};
  if (!value.is_string() && !value.is_number()) {
    fields.refuse(field, "must be null, a number or a string, not " + value.dump());
  }
  try {
    return parse_logits_scaling(value.is_string() ? value.get<std::string>() : value.dump());
  } catch (const InputError& error) {
    fields.refuse(field, error.what());
  }
}

/// HypeNet's own fields. `expand_kv_proj` says that lightning layers have one key and value head a query head unless
/// lightning_nkv says otherwise.
void read_hypenet(Fields& fields, ModelConfig& config) {
  config.mixer_types = read_mixer_types(fields, config.num_hidden_layers);
  config.attn_use_rope = fields.boolean("attn_use_rope", false);
  config.attn_use_output_gate = fields.boolean("attn_use_output_gate", false);
  config.attn_logits_scaling = read_scaling(fields);
  config.lightning_nh = static_cast<int>(fields.size("lightning_nh", config.num_attention_heads));
  config.lightning_nkv = static_cast<int>(fields.size("lightning_nkv", config.lightning_nh));
  config.lightning_head_dim = static_cast<int>(fields.size("lightning_head_dim", config.head_dim));
  config.lightning_use_rope = fields.boolean("lightning_use_rope", false);
  config.lightning_use_qk_norm = fields.boolean("lightning_use_qk_norm", false);
  config.lightning_use_output_norm = fields.boolean("lightning_use_output_norm", false);
  config.lightning_use_output_gate = fields.boolean("lightning_use_output_gate", false);
}

void require_consistent(const Fields& fields, const ModelConfig& c) {
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    fields.refuse(
        "num_key_value_heads",
        str(c.num_key_value_heads, " does not divide num_attention_heads ", c.num_attention_heads));
  }
  if (c.head_dim % 2 != 0)
    fields.refuse("head_dim", str(c.head_dim, " is odd: RoPE rotates halves"));
  if (!c.is_hypenet()) return;
  if (c.lightning_nh % c.lightning_nkv != 0) {
    fields.refuse("lightning_nkv",
                  str(c.lightning_nkv, " does not divide lightning_nh ", c.lightning_nh));
  }
  if (c.lightning_head_dim % 2 != 0)
    fields.refuse("lightning_head_dim", "is odd: RoPE rotates halves");
}

/// As short as reads back to the same base.
std::string hype_text(double base) {
  std::array<char, 32> digits;
  const auto written = std::to_chars(digits.data(), digits.data() + digits.size(), base);
  return "hype " + std::string(digits.data(), written.ptr);
}

json object_of(std::string_view text, const std::string& name) {
  json object = parse_json(text, name);
  HALO_REQUIRE_INPUT(object.is_object(), name + ": not a JSON object");
  return object;
}

}  // namespace

LogitsScaling parse_logits_scaling(std::string_view text) {
  if (text == "none") return {};
  constexpr std::string_view kPrefix = "hype ";
  const bool hype = text.starts_with(kPrefix);
  const std::string_view digits = hype ? text.substr(kPrefix.size()) : text;
  double value = 0.0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole =
      failure == std::errc() && end == digits.data() + digits.size() && std::isfinite(value);
  HALO_REQUIRE_INPUT(
      whole && (hype ? value > 1 : value > 0),
      str('"', text,
          "\" is no logits scaling: write \"none\", \"hype 500\" (any base above 1) or a "
          "positive constant"));
  return {hype ? LogitsScaling::Kind::kHype : LogitsScaling::Kind::kConstant, value};
}

ModelConfig parse_model_config(std::string_view text, const std::string& name) {
  Fields fields(object_of(text, name), name);
  require_supported(fields);
  const std::string type = fields.text("model_type", "");
  if (type != "qwen3" && type != "hypenet") {
    fields.refuse("model_type",
                  str('"', type, "\" is not supported, only \"qwen3\" and \"hypenet\""));
  }
  ModelConfig c;
  c.vocab_size = fields.size("vocab_size");
  c.hidden_size = fields.size("hidden_size");
  c.intermediate_size = fields.size("intermediate_size");
  c.num_hidden_layers = static_cast<int>(fields.size("num_hidden_layers"));
  if (c.num_hidden_layers > 10000)
    fields.refuse("num_hidden_layers", str(c.num_hidden_layers, " layers"));
  c.num_attention_heads = static_cast<int>(fields.size("num_attention_heads"));
  c.num_key_value_heads =
      static_cast<int>(fields.size("num_key_value_heads", c.num_attention_heads));
  c.head_dim = static_cast<int>(
      fields.size("head_dim", std::max<std::int64_t>(1, c.hidden_size / c.num_attention_heads)));
  c.rms_norm_eps = fields.number("rms_norm_eps", 1e-6);
  c.rope_theta = read_rope_theta(fields, 1e6);
  c.tie_word_embeddings = fields.boolean("tie_word_embeddings", false);
  if (type == "hypenet") read_hypenet(fields, c);
  require_consistent(fields, c);
  for (const char* written :
       {"architectures", "hidden_act", "attention_bias", "expand_kv_proj", "lightning_scale"}) {
    fields.take(written);
  }
  c.other_fields = fields.rest();
  return c;
}

ModelConfig read_model_config(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "config.json" : path;
  return parse_model_config(read_file(file), file.string());
}

std::string to_json(const ModelConfig& c) {
  json out = json::parse(c.other_fields);
  out["model_type"] = c.is_hypenet() ? "hypenet" : "qwen3";
  out["architectures"] = {c.is_hypenet() ? "HypeNetForCausalLM" : "Qwen3ForCausalLM"};
  out["vocab_size"] = c.vocab_size;
  out["hidden_size"] = c.hidden_size;
  out["intermediate_size"] = c.intermediate_size;
  out["num_hidden_layers"] = c.num_hidden_layers;
  out["num_attention_heads"] = c.num_attention_heads;
  out["num_key_value_heads"] = c.num_key_value_heads;
  out["head_dim"] = c.head_dim;
  out["rms_norm_eps"] = c.rms_norm_eps;
  out["rope_theta"] = c.rope_theta;
  out["tie_word_embeddings"] = c.tie_word_embeddings;
  out["hidden_act"] = "silu";
  out["attention_bias"] = false;
  if (c.is_hypenet()) {
    out["mixer_types"] = json::array();
    for (const MixerType type : c.mixer_types) {
      out["mixer_types"].push_back(type == MixerType::kAttention ? "attn" : "lightning-attn");
    }
    out["attn_use_rope"] = c.attn_use_rope;
    out["attn_use_output_gate"] = c.attn_use_output_gate;
    switch (c.attn_logits_scaling.kind) {
      case LogitsScaling::Kind::kNone:
        out["attn_logits_scaling"] = nullptr;
        break;
      case LogitsScaling::Kind::kConstant:
        out["attn_logits_scaling"] = c.attn_logits_scaling.value;
        break;
      case LogitsScaling::Kind::kHype:
        out["attn_logits_scaling"] = hype_text(c.attn_logits_scaling.value);
        break;
    }
    out["expand_kv_proj"] = true;
    out["lightning_use_rope"] = c.lightning_use_rope;
    out["lightning_nh"] = c.lightning_nh;
    out["lightning_nkv"] = c.lightning_nkv;
    out["lightning_head_dim"] = c.lightning_head_dim;
    out["lightning_scale"] = "1/sqrt(d)";
    out["lightning_use_qk_norm"] = c.lightning_use_qk_norm;
    out["lightning_use_output_norm"] = c.lightning_use_output_norm;
    out["lightning_use_output_gate"] = c.lightning_use_output_gate;
  }
  return out.dump(2) + "\n";
}

ModelConfig hybrid_config(const ModelConfig& teacher, const std::vector<int>& keep,
                          const HybridOptions& options) {
  ModelConfig c = teacher;
  c.mixer_types.assign(static_cast<std::size_t>(c.num_hidden_layers), MixerType::kLightning);
  for (const int layer : keep) {
    HALO_REQUIRE_INPUT(layer >= 0 && layer < c.num_hidden_layers,
                       str("layer ", layer, " cannot be kept: the model has layers 0 to ",
                           c.num_hidden_layers - 1));
    auto& type = c.mixer_types[static_cast<std::size_t>(layer)];
    HALO_REQUIRE_INPUT(type == MixerType::kLightning, str("layer ", layer, " is kept twice"));
    type = MixerType::kAttention;
  }
  c.attn_use_rope = options.attn_use_rope;
  c.attn_use_output_gate = options.attn_use_output_gate;
  c.lightning_nh = c.num_attention_heads;
  c.lightning_nkv = options.lightning_nkv == 0 ? c.num_attention_heads : options.lightning_nkv;
  const bool divides = c.lightning_nkv > 0 && c.num_attention_heads % c.lightning_nkv == 0 &&
                       c.lightning_nkv % c.num_key_value_heads == 0;
  HALO_REQUIRE_INPUT(
      divides, str("lightning_nkv ", c.lightning_nkv, " must divide the ", c.num_attention_heads,
                   " query heads and be a multiple of the teacher's ", c.num_key_value_heads,
                   " key/value heads"));
  c.lightning_head_dim = c.head_dim;
  c.lightning_use_rope = options.lightning_use_rope;
  c.lightning_use_qk_norm = options.lightning_use_qk_norm;
  c.lightning_use_output_norm = options.lightning_use_output_norm;
  c.lightning_use_output_gate = options.lightning_use_output_gate;
  return c;
}

HybridOptions hybrid_options_of(const ModelConfig& c) {
  return {c.attn_use_rope,
          c.attn_use_output_gate,
          c.lightning_nkv,
          c.lightning_use_rope,
          c.lightning_use_qk_norm,
          c.lightning_use_output_norm,
          c.lightning_use_output_gate};
}

ModelConfig replacement_config(const ModelConfig& teacher, const std::vector<int>& layers,
                               const HybridOptions& options) {
  ModelConfig c = hybrid_config(teacher, {}, options);
  c.mixer_types.assign(c.mixer_types.size(), MixerType::kAttention);
  for (const int layer : layers) {
    HALO_REQUIRE_INPUT(layer >= 0 && layer < c.num_hidden_layers,
                       str("layer ", layer, " cannot be replaced: the model has layers 0 to ",
                           c.num_hidden_layers - 1));
    c.mixer_types[static_cast<std::size_t>(layer)] = MixerType::kLightning;
  }
  c.attn_use_rope = true;
  c.attn_use_output_gate = false;
  return c;
}

}  // namespace halo::model
