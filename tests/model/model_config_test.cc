#include "core/model/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace halo::model {
namespace {

nlohmann::json qwen3_json() {
  return {{"model_type", "qwen3"},    {"vocab_size", 160},      {"hidden_size", 32},
          {"intermediate_size", 96},  {"num_hidden_layers", 4}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"head_dim", 16},         {"rms_norm_eps", 1e-6},
          {"rope_theta", 1000000.0},  {"hidden_act", "silu"},   {"tie_word_embeddings", true},
          {"attention_bias", false},  {"eos_token_id", 151645}};
}

ModelConfig parse(const nlohmann::json& json) {
  return parse_model_config(json.dump(), "config.json");
}

std::string refusal(const nlohmann::json& json) {
  try {
    static_cast<void>(parse(json));
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ModelConfigTest, ReadsAndWritesAQwen3WithFieldsItDoesNotKnow) {
  const ModelConfig config = parse(qwen3_json());
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_FALSE(config.is_hypenet());
  const auto written = nlohmann::json::parse(to_json(config));
  EXPECT_EQ(written["eos_token_id"], 151645);
  EXPECT_EQ(written["architectures"][0], "Qwen3ForCausalLM");
  EXPECT_EQ(parse(written), config);
}

TEST(ModelConfigTest, AHybridsConfigHasEveryFieldOfTheArchitecture) {
  ModelConfig hybrid = hybrid_config(parse(qwen3_json()), {1, 3}, {});
  hybrid.attn_logits_scaling = parse_logits_scaling("hype 500");
  const auto written = nlohmann::json::parse(to_json(hybrid));
  EXPECT_EQ(written["model_type"], "hypenet");
  EXPECT_EQ(written["architectures"][0], "HypeNetForCausalLM");
  EXPECT_EQ(written["mixer_types"],
            (nlohmann::json{"lightning-attn", "attn", "lightning-attn", "attn"}));
  EXPECT_EQ(written["attn_use_rope"], false);
  EXPECT_EQ(written["attn_use_output_gate"], true);
  EXPECT_EQ(written["attn_logits_scaling"], "hype 500");
  EXPECT_EQ(written["expand_kv_proj"], true);
  EXPECT_EQ(written["lightning_scale"], "1/sqrt(d)");
  EXPECT_EQ(written["lightning_nh"], 4);
  EXPECT_EQ(written["lightning_nkv"], 4);
  EXPECT_EQ(written["lightning_head_dim"], 16);
  for (const char* field : {"lightning_use_rope", "lightning_use_qk_norm",
                            "lightning_use_output_norm", "lightning_use_output_gate"}) {
    EXPECT_EQ(written[field], true) << field;
  }
  EXPECT_EQ(parse(written), hybrid);
}

TEST(ModelConfigTest, RefusesWhatItDoesNotComputeNamingTheField) {
  const std::vector<std::pair<std::string, nlohmann::json>> bad{
      {"model_type", "llama"},     {"attention_bias", true},
      {"hidden_act", "gelu"},      {"head_dim", 15},
      {"num_key_value_heads", 3},  {"vocab_size", 0},
      {"vocab_size", "many"},      {"vocab_size", 1e300},
      {"hidden_size", -4},         {"rope_scaling", {{"factor", 4}}},
      {"use_sliding_window", true}};
  for (const auto& [field, value] : bad) {
    nlohmann::json json = qwen3_json();
    json[field] = value;
    const std::string reason = refusal(json);
    EXPECT_NE(reason.find(field), std::string::npos) << field << " = " << value << ": " << reason;
    EXPECT_TRUE(reason.starts_with("config.json: ")) << reason;
  }
  nlohmann::json missing = qwen3_json();
  missing.erase("hidden_size");
  EXPECT_NE(refusal(missing).find("hidden_size"), std::string::npos);
}

TEST(ModelConfigTest, LogitsScalingsAreNoneAConstantOrHype) {
  EXPECT_EQ(parse_logits_scaling("none").kind, LogitsScaling::Kind::kNone);
  EXPECT_EQ(parse_logits_scaling("hype 600"), (LogitsScaling{LogitsScaling::Kind::kHype, 600}));
  EXPECT_EQ(parse_logits_scaling("1.5"), (LogitsScaling{LogitsScaling::Kind::kConstant, 1.5}));
  for (const char* bad : {"", "hype", "hype 1", "hype -3", "hype 5x", "nan", "-1", "hype inf"}) {
    EXPECT_THROW(static_cast<void>(parse_logits_scaling(bad)), InputError) << bad;
  }
}

/// 2^31 was once let in and became a negative number of heads.
TEST(ModelConfigTest, RefusesSizesPastAnInt) {
  for (const char* field : {"num_attention_heads", "num_hidden_layers", "vocab_size"}) {
    nlohmann::json json = qwen3_json();
    json[field] = std::int64_t{1} << 31;
    const std::string reason = refusal(json);
    EXPECT_NE(reason.find("must be between 1 and 2147483647"), std::string::npos) << reason;
  }
}

TEST(ModelConfigTest, AHypeBaseOfManyDigitsIsWrittenWhole) {
  ModelConfig hybrid = hybrid_config(parse(qwen3_json()), {1}, {});
  for (const double base : {500.00390625, 500.1, 1e6, 1.0000000000000002}) {
    hybrid.attn_logits_scaling = {LogitsScaling::Kind::kHype, base};
    EXPECT_EQ(parse_model_config(to_json(hybrid), "written"), hybrid) << base;
  }
}

TEST(ModelConfigTest, AHybridRefusesLayersAndHeadsThatDoNotFit) {
  const ModelConfig teacher = parse(qwen3_json());
  EXPECT_THROW(static_cast<void>(hybrid_config(teacher, {4}, {})), InputError);
  EXPECT_THROW(static_cast<void>(hybrid_config(teacher, {1, 1}, {})), InputError);
  HybridOptions options;
  options.lightning_nkv = 3;
  EXPECT_THROW(static_cast<void>(hybrid_config(teacher, {}, options)), InputError);
}

}  // namespace
}  // namespace halo::model
