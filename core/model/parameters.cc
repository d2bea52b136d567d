#include "core/model/parameters.h"

#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

#include "core/base/host_access.h"
#include "core/base/rng.h"
#include "kernels/matmul.h"

namespace halo::model {
namespace {

constexpr std::int64_t kAlignment = 16;  // elements: 64 bytes of float32

std::int64_t padded(std::int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

using parallel::Placement;

ParameterSpec matrix(std::string name, std::int64_t rows, std::int64_t columns,
                     const Placement& placement) {
  return {std::move(name), {rows, columns}, {}, placement};
}
ParameterSpec norm(std::string name, std::int64_t n, const Placement& placement = {}) {
  return {std::move(name), {n}, {Initializer::Kind::kOnes, 1.0}, placement};
}

/// Walks the elements of a slice in order with their index in the whole tensor (row-major).
template <class Body>
void for_each_global_index(const Parameter& p, Body&& body) {
  const std::int64_t n = p.region.shape.elements();
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t rest = i, global = 0, stride = 1;
    for (int axis = p.global_shape.rank() - 1; axis >= 0; --axis) {
      const std::int64_t at = rest % p.region.shape[axis] + p.region.offset[axis];
      rest /= p.region.shape[axis];
      global += at * stride;
      stride *= p.global_shape[axis];
    }
    body(i, static_cast<std::uint64_t>(global));
  }
}

}  // namespace

std::string layer_prefix(int layer) { return "model.layers." + std::to_string(layer) + "."; }
std::string mixer_prefix(int layer) { return layer_prefix(layer) + "self_attn."; }

std::vector<ParameterSpec> mixer_specs(const ModelConfig& c, int layer) {
  const bool lightning = c.mixer(layer) == MixerType::kLightning;
  const std::int64_t D = c.hidden_size;
  const std::int64_t K = lightning ? c.lightning_head_dim : c.head_dim;
  const std::int64_t H = lightning ? c.lightning_nh : c.num_attention_heads;
  const std::int64_t HK = K * H;
  const std::int64_t GK = K * (lightning ? c.lightning_nkv : c.num_key_value_heads);
  const Placement heads = Placement::rows(K), keys = Placement::key_heads(K, H);
  const std::string p = mixer_prefix(layer);
  std::vector<ParameterSpec> specs{matrix(p + "q_proj.weight", HK, D, heads),
                                   matrix(p + "k_proj.weight", GK, D, keys),
                                   matrix(p + "v_proj.weight", GK, D, keys)};
  if (!lightning || c.lightning_use_qk_norm) {
    specs.push_back(norm(p + "q_norm.weight", K));
    specs.push_back(norm(p + "k_norm.weight", K));
  }
  if (lightning && c.lightning_use_output_norm)
    specs.push_back(norm(p + "o_norm.weight", HK, heads));
  if (lightning && c.lightning_use_output_gate) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(D));
    specs.push_back({p + "z_proj.weight", {HK, D}, {Initializer::Kind::kUniform, bound}, heads});
  }
  if (!lightning && c.attn_use_output_gate)
    specs.push_back(matrix(p + "o_gate.weight", HK, D, heads));
  specs.push_back(matrix(p + "o_proj.weight", D, HK, Placement::columns(K)));
  return specs;
}

std::vector<ParameterSpec> parameter_specs(const ModelConfig& c) {
  return parameter_specs(c, {all_layers(c)});
}

std::vector<ParameterSpec> parameter_specs(const ModelConfig& c,
                                           const std::vector<LayerRange>& ranges) {
  const std::int64_t D = c.hidden_size, I = c.intermediate_size;
  std::vector<ParameterSpec> specs;
  bool embedding = false;
  const auto add_embedding = [&] {
    if (!std::exchange(embedding, true))
      specs.push_back(matrix(kEmbedding, c.vocab_size, D, Placement::rows()));
  };
  for (const LayerRange& range : ranges) {
    if (range.begin == 0) add_embedding();
    for (int layer = range.begin; layer < range.end; ++layer) {
      const std::string p = layer_prefix(layer);
      specs.push_back(norm(p + "input_layernorm.weight", D));
      for (ParameterSpec& spec : mixer_specs(c, layer)) specs.push_back(std::move(spec));
      specs.push_back(norm(p + "post_attention_layernorm.weight", D));
      specs.push_back(matrix(p + "mlp.gate_proj.weight", I, D, Placement::rows()));
      specs.push_back(matrix(p + "mlp.up_proj.weight", I, D, Placement::rows()));
      specs.push_back(matrix(p + "mlp.down_proj.weight", D, I, Placement::columns()));
    }
    if (range.end < c.num_hidden_layers) continue;
    specs.push_back(norm("model.norm.weight", D));
    if (c.tie_word_embeddings)
      add_embedding();
    else
      specs.push_back(matrix(kHead, c.vocab_size, D, Placement::rows()));
  }
  return specs;
}

parallel::Region held_region(const ParameterSpec& spec, const ParameterPlace& place) {
  return parallel::held_region(spec.shape, spec.placement, place.tensor_rank, place.tensor_ranks);
}

parallel::Region counted_region(const ParameterSpec& spec, const ParameterPlace& place) {
  parallel::Region region =
      parallel::counted_region(spec.shape, spec.placement, place.tensor_rank, place.tensor_ranks);
  const bool elsewhere =
      spec.name == kEmbedding && place.embedding_at_both_ends && !place.is_first_stage;
  if (elsewhere) region.shape[0] = 0;
  return region;
}

ParameterSet::ParameterSet(Stream& stream, const std::vector<ParameterSpec>& specs, DType dtype,
                           Use use, const ParameterPlace& place) {
  std::int64_t total = 0;
  for (const ParameterSpec& spec : specs)
    total += padded(held_region(spec, place).shape.elements());
  weights_ = Tensor::zeros(stream, {total}, dtype);
  if (use == Use::kTrained) gradients_ = Tensor::zeros(stream, {total}, wide_dtype(dtype));
  if (use == Use::kTrained) clear_ = std::make_unique<bool[]>(specs.size());
  std::int64_t begin = 0;
  for (const ParameterSpec& spec : specs) {
    const parallel::Region region = held_region(spec, place);
    const std::int64_t end = begin + region.shape.elements();
    const auto part = [&](const Tensor& flat) {
      return flat.empty() ? TensorView{} : flat.view().slice(0, begin, end).reshape(region.shape);
    };
    const bool fresh = index_.emplace(spec.name, parameters_.size()).second;
    HALO_REQUIRE(fresh, str("two parameters are named ", spec.name));
    Parameter p;
    p.name = spec.name;
    p.global_shape = spec.shape;
    p.region = region;
    p.counted = counted_region(spec, place);
    p.shared = parallel::is_shared(spec.shape, spec.placement, place.tensor_ranks);
    p.at_both_ends = place.embedding_at_both_ends && spec.name == kEmbedding;
    p.init = spec.init;
    p.stream = &stream;
    p.weight = part(weights_);
    p.grad = part(gradients_);
    p.grad_is_clear = clear_ == nullptr ? nullptr : &clear_[parameters_.size()];
    parameters_.push_back(std::move(p));
    begin += padded(region.shape.elements());
  }
}

void add_matrix_gradient(const Parameter& p, TensorView d_out, TensorView in, Stream& stream) {
  if (p.grad.empty()) return;
  const bool accumulate = !std::exchange(*p.grad_is_clear, false);
  kernels::linear_backward_weight(p.grad, d_out, in, accumulate, stream);
}

double parameter_elements(const std::vector<ParameterSpec>& specs) {
  double n = 0;
  for (const ParameterSpec& spec : specs) n += static_cast<double>(spec.shape.elements());
  return n;
}

int layer_of(const Parameter& parameter) {
  constexpr std::string_view kLayers = "model.layers.";
  if (parameter.name == kEmbedding) return kEmbeddingLayer;
  if (!parameter.name.starts_with(kLayers)) return kAfterLayers;
  int layer = 0;
  const char* const begin = parameter.name.data() + kLayers.size();
  std::from_chars(begin, parameter.name.data() + parameter.name.size(), layer);
  return layer;
}

void settle_gradient(const Parameter& p, Stream& stream) {
  if (!p.grad.empty() && std::exchange(*p.grad_is_clear, false)) fill_zero(p.grad, stream);
}

void ParameterSet::clear_gradients() const {
  HALO_REQUIRE(trained(), "a frozen set has no gradients to clear");
  for (const Parameter& p : parameters_) *p.grad_is_clear = true;
}

void ParameterSet::settle_gradients(Stream& stream) const {
  for (const Parameter& p : parameters_) settle_gradient(p, stream);
}

void ParameterSet::mark_gradients_settled() const {
  for (const Parameter& p : parameters_)
    if (p.grad_is_clear != nullptr) *p.grad_is_clear = false;
}

void ParameterSet::transpose_matrices(Stream& stream) {
  HALO_REQUIRE(!trained(), "the matrices of a set that is trained stay as they are");
  if (stream.device() == Device::kCuda) return;  // whose library reads both orders alike
  for (Parameter& p : parameters_) {
    if (p.weight.rank() != 2 || p.name == kEmbedding) continue;
    const std::int64_t rows = p.weight.dim(0), columns = p.weight.dim(1);
    const TensorView stored = p.weight.reshape({columns, rows});
    dispatch_float(p.weight.dtype, [&](auto zero) {
      auto* to = stored.as<decltype(zero)>();
      const std::vector from(
          to, to + stored.size());  // gone before the next; a tensor's memory would be kept
      stream.parallel_for(columns, rows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = 0; i < rows; ++i)
          for (std::int64_t j = begin; j < end; ++j)
            to[j * rows + i] = from[static_cast<std::size_t>(i * columns + j)];
      });
    });
    p.weight = stored.transposed(0, 1);
  }
}

const Parameter* ParameterSet::find(const std::string& name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &parameters_[at->second];
}

const Parameter& ParameterSet::at(const std::string& name) const {
  const Parameter* parameter = find(name);
  HALO_REQUIRE(parameter != nullptr, "no parameter is named " + name);
  return *parameter;
}

std::int64_t ParameterSet::count() const {
  std::int64_t n = 0;
  for (const Parameter& p : parameters_) n += p.global_shape.elements();
  return n;
}

std::int64_t ParameterSet::flat_offset(const Parameter& p) const {
  const auto bytes = static_cast<const std::byte*>(p.weight.data) -
                     static_cast<const std::byte*>(weights_.view().data);
  return bytes / static_cast<std::int64_t>(dtype_size(dtype()));
}

void initialize(const Parameter& p, std::uint64_t seed) {
  const CounterRng rng(seed, p.name);
  write_from_host(p.weight, *p.stream, [&](const TensorView& weight) {
    dispatch_float(weight.dtype, [&](auto zero) {
      using T = decltype(zero);
      T* w = weight.as<T>();
      for_each_global_index(p, [&](std::int64_t i, std::uint64_t global) {
        double x = 1.0;
        if (p.init.kind == Initializer::Kind::kNormal) x = p.init.value * rng.normal(global);
        if (p.init.kind == Initializer::Kind::kUniform)
          x = p.init.value * (2.0 * rng.uniform(global) - 1.0);
        w[i] = T(static_cast<float>(x));
      });
    });
  });
}

}  // namespace halo::model
