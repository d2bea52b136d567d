#include "core/model/memory.h"

#include <algorithm>

#include "core/model/head.h"

namespace halo::model {

double parameter_elements(const std::vector<ParameterSpec>& specs) {
  double n = 0;
  for (const ParameterSpec& spec : specs) n += static_cast<double>(spec.shape.elements());
  return n;
}

double mixer_saved_elements(const ModelConfig& c, int layer, std::int64_t rows) {
  const bool lightning = c.mixer(layer) == MixerType::kLightning;
  const double K = lightning ? c.lightning_head_dim : c.head_dim;
  const double HK = K * (lightning ? c.lightning_nh : c.num_attention_heads);
  const double GK = K * (lightning ? c.lightning_nkv : c.num_key_value_heads);
  const bool norm = lightning ? c.lightning_use_qk_norm : true;
  const bool gate = lightning ? c.lightning_use_output_gate : c.attn_use_output_gate;
  const bool output_norm = lightning && c.lightning_use_output_norm;
  const double width =
      (norm ? 2 : 1) * (HK + GK) + GK + HK * (1 + (output_norm ? 1 : 0) + (gate ? 2 : 0));
  return width * static_cast<double>(rows);
}

double saved_elements(const ModelConfig& c, int layer, std::int64_t rows) {
  const double width =
      4.0 * static_cast<double>(c.hidden_size) + 2.0 * static_cast<double>(c.intermediate_size);
  return mixer_saved_elements(c, layer, rows) + width * static_cast<double>(rows);
}

double activation_bytes(const ModelConfig& c, std::int64_t rows, bool recompute, DType dtype) {
  double kept = 0, largest = 0;
  for (int layer = 0; layer < c.num_hidden_layers; ++layer) {
    const double layer_elements = saved_elements(c, layer, rows);
    largest = std::max(largest, layer_elements);
    kept +=
        recompute ? static_cast<double>(rows) * static_cast<double>(c.hidden_size) : layer_elements;
  }
  const double streams = 4.0 * static_cast<double>(rows) * static_cast<double>(c.hidden_size);
  const double logits = 2.0 *
                        static_cast<double>(std::min(rows, head_chunk_rows(c.vocab_size, dtype))) *
                        static_cast<double>(c.vocab_size);
  const double backward =
      largest;  // the gradients of one layer's activations, or its recomputed pass
  return (kept + streams + std::max(logits, backward)) * static_cast<double>(dtype_size(dtype));
}

}  // namespace halo::model
