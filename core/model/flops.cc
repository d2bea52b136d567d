#include "core/model/flops.h"

namespace halo::model {
namespace {

struct MixerSize {
  double H, G, K;
  bool gate;
};

MixerSize mixer_size(const ModelConfig& c, int layer) {
  if (c.mixer(layer) == MixerType::kLightning) {
    return {double(c.lightning_nh), double(c.lightning_nkv), double(c.lightning_head_dim),
            c.lightning_use_output_gate};
  }
  return {double(c.num_attention_heads), double(c.num_key_value_heads), double(c.head_dim),
          c.attn_use_output_gate};
}

}  // namespace

double mixer_matrix_elements(const ModelConfig& c, int layer) {
  const MixerSize m = mixer_size(c, layer);
  return double(c.hidden_size) * m.K * ((m.gate ? 3 : 2) * m.H + 2 * m.G);  // q, o, gate; k, v
}

double mlp_matrix_elements(const ModelConfig& c) {
  return 3.0 * double(c.hidden_size) * double(c.intermediate_size);
}

double head_matrix_elements(const ModelConfig& c) {
  return double(c.vocab_size) * double(c.hidden_size);
}

double mixing_flops(const ModelConfig& c, int layer, std::int64_t T) {
  const MixerSize m = mixer_size(c, layer);
  return c.mixer(layer) == MixerType::kLightning ? 4 * m.K * m.H * m.K : 2 * double(T) * m.H * m.K;
}

double forward_flops(const ModelConfig& c, std::int64_t T, bool head) {
  double flops = head ? 2 * head_matrix_elements(c) : 0;
  for (int layer = 0; layer < c.num_hidden_layers; ++layer) {
    flops +=
        2 * (mixer_matrix_elements(c, layer) + mlp_matrix_elements(c)) + mixing_flops(c, layer, T);
  }
  return flops;
}

}  // namespace halo::model
