#include "core/halo/transfer.h"

#include "core/base/host_access.h"

namespace halo::method {
namespace {

bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> suffixes) {
  for (const std::string_view suffix : suffixes) {
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

/// k_proj or v_proj with each of the teacher's heads repeated: student head h reads teacher head h * G_t / G_s.
void repeat_heads(const model::Parameter& p, const model::ModelConfig& config,
                  const Teacher& teacher) {
  const std::int64_t K = config.lightning_head_dim, D = p.global_shape[1];
  const std::int64_t repeats = config.lightning_nkv / teacher.config.num_key_value_heads;
  const Shape expected{teacher.config.num_key_value_heads * K, D};
  const Shape stored = teacher.weights.shape(p.name);
  HALO_REQUIRE_INPUT(stored == expected,
                     str(teacher.weights.name(), ": tensor ", p.name, ": the shape is ",
                         to_string(stored), ", expected ", to_string(expected)));
  const std::int64_t first = p.region.offset[0] / K;
  write_from_host(p.weight, *p.stream, [&](const TensorView& weight) {
    for (std::int64_t head = 0; head * K < p.region.shape[0]; ++head) {
      const std::int64_t from = (first + head) / repeats;
      teacher.weights.read(p.name, {{from * K, 0}, {K, D}},
                           weight.slice(0, head * K, (head + 1) * K));
    }
  });
}

void transfer_parameter(const model::Parameter& p, const model::ModelConfig& config,
                        const Teacher& teacher, std::uint64_t seed) {
  if (ends_with_any(p.name, {".o_norm.weight", ".z_proj.weight"})) {
    model::initialize(p, seed);
  } else if (ends_with_any(p.name, {".k_proj.weight", ".v_proj.weight"})) {
    repeat_heads(p, config, teacher);
  } else {
    model::load_parameter(p, teacher.weights);
  }
}

/// body(parameter) for each of layer `layer`'s mixer that the set holds.
template <class Body>
void for_each_of_mixer(const model::ParameterSet& student, const model::ModelConfig& config,
                       int layer, Body&& body) {
  for (const model::ParameterSpec& spec : model::mixer_specs(config, layer)) {
    if (const model::Parameter* p = student.find(spec.name)) body(*p);
  }
}

}  // namespace

std::vector<model::ParameterSpec> align_specs(const model::ModelConfig& config) {
  return align_specs(config, {model::all_layers(config)});
}

std::vector<model::ParameterSpec> align_specs(const model::ModelConfig& config,
                                              const std::vector<model::LayerRange>& ranges) {
  std::vector<model::ParameterSpec> specs;
  for (const model::LayerRange& range : ranges) {
    for (int layer = range.begin; layer < range.end; ++layer) {
      HALO_REQUIRE(config.mixer(layer) == model::MixerType::kLightning,
                   str("layer ", layer, " of the align stage is not a lightning mixer"));
      for (model::ParameterSpec& spec : model::mixer_specs(config, layer))
        specs.push_back(std::move(spec));
    }
  }
  return specs;
}

void transfer(const model::ParameterSet& student, const model::ModelConfig& config,
              const Teacher& teacher, std::uint64_t seed) {
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) {
    if (config.mixer(layer) != model::MixerType::kLightning) continue;
    for_each_of_mixer(student, config, layer, [&](const model::Parameter& p) {
      transfer_parameter(p, config, teacher, seed);
    });
  }
}

void build_hybrid(const model::ParameterSet& student, const model::ModelConfig& config,
                  const Teacher& teacher, const model::WeightSource* mixers, std::uint64_t seed) {
  for (const model::Parameter& p : student.all()) {
    if (p.name.find(".self_attn.") != std::string::npos) continue;
    // An untied student of a tied teacher starts its head from what the teacher uses as one.
    const bool tied_head = p.name == model::kHead && teacher.config.tie_word_embeddings;
    model::load_parameter(p, teacher.weights, tied_head ? model::kEmbedding : p.name);
  }
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) {
    const bool lightning = config.mixer(layer) == model::MixerType::kLightning;
    for_each_of_mixer(student, config, layer, [&](const model::Parameter& p) {
      if (!lightning && p.name.ends_with(".o_gate.weight")) {
        model::initialize(p, seed);
      } else if (!lightning) {
        model::load_parameter(p, teacher.weights);
      } else if (mixers != nullptr) {
        model::load_parameter(p, *mixers);
      } else {
        transfer_parameter(p, config, teacher, seed);
      }
    });
  }
}

}  // namespace halo::method
