#include "core/model/mixer.h"

#include <cmath>

#include "kernels/gates.h"
#include "kernels/lightning_attention.h"
#include "kernels/matmul.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/softmax_attention.h"

namespace halo::model {
namespace {

double scale_of(const MixerOptions& options) {
  return 1.0 / std::sqrt(static_cast<double>(options.K));
}

/// (N, heads * K) or (N * heads, K) seen as (T, B, heads, K).
TensorView heads(TensorView x, const Sequence& s, std::int64_t n, std::int64_t K) {
  return x.reshape({s.T, s.B, n, K});
}

/// Each head as a row: (N * heads, K).
TensorView rows_of_heads(TensorView x, std::int64_t K) { return x.reshape({x.size() / K, K}); }

kernels::AttentionMask attention_mask(const Sequence& s, std::int64_t cached) {
  return {cached, s.document_start};
}

kernels::LightningOptions lightning_options(const MixerOptions& options, const Sequence& s) {
  return {options.slopes, scale_of(options), s.document_start};
}

}  // namespace

MixerOptions mixer_options(const ModelConfig& c, int layer) {
  MixerOptions m;
  m.type = c.mixer(layer);
  m.eps = c.rms_norm_eps;
  if (m.type == MixerType::kLightning) {
    m.H = c.lightning_nh;
    m.G = c.lightning_nkv;
    m.K = c.lightning_head_dim;
    m.use_rope = c.lightning_use_rope;
    m.use_qk_norm = c.lightning_use_qk_norm;
    m.use_output_norm = c.lightning_use_output_norm;
    m.use_output_gate = c.lightning_use_output_gate;
    m.slopes = kernels::slopes(c.lightning_nh);
  } else {
    m.H = c.num_attention_heads;
    m.G = c.num_key_value_heads;
    m.K = c.head_dim;
    m.use_rope = c.attn_use_rope;
    m.use_output_gate = c.attn_use_output_gate;
    m.scaling = c.attn_logits_scaling;
  }
  return m;
}

Mixer::Mixer(MixerOptions options, const ParameterLookup& parameters, const std::string& prefix)
    : options_(std::move(options)),
      q_proj_(&parameters(prefix + "q_proj.weight")),
      k_proj_(&parameters(prefix + "k_proj.weight")),
      v_proj_(&parameters(prefix + "v_proj.weight")),
      o_proj_(&parameters(prefix + "o_proj.weight")) {
  if (options_.use_qk_norm) {
    q_norm_ = &parameters(prefix + "q_norm.weight");
    k_norm_ = &parameters(prefix + "k_norm.weight");
  }
  if (options_.use_output_norm) o_norm_ = &parameters(prefix + "o_norm.weight");
  if (options_.use_output_gate) {
    const bool lightning = options_.type == MixerType::kLightning;
    gate_ = &parameters(prefix + (lightning ? "z_proj.weight" : "o_gate.weight"));
  }
}

MixerCache Mixer::make_cache(std::int64_t capacity, std::int64_t B, DType dtype,
                             Stream& stream) const {
  MixerCache cache;
  const auto& o = options_;
  if (o.type == MixerType::kLightning) {
    cache.state = Tensor::zeros(stream, {B, o.H, o.K, o.K}, wide_dtype(dtype));
  } else {
    cache.k = Tensor(stream, {capacity, B, o.G, o.K}, dtype);
    cache.v = Tensor(stream, {capacity, B, o.G, o.K}, dtype);
  }
  return cache;
}

void Mixer::forward(TensorView y, TensorView x, const Sequence& sequence, Saved& saved,
                    MixerCache* cache, Stream& stream) const {
  project(x, sequence, saved, stream);
  mix(sequence, saved, cache, stream);

  TensorView out = saved.o;
  if (o_norm_ != nullptr) {
    saved.n = Tensor(stream, out.shape, out.dtype);
    saved.o_inv_rms = Tensor(stream, {sequence.rows()}, wide_dtype(out.dtype));
    kernels::rms_norm(saved.n, saved.o_inv_rms, out, o_norm_->weight, options_.eps, stream);
    out = saved.n;
  }
  if (gate_ != nullptr) {
    saved.z = Tensor(stream, out.shape, out.dtype);
    saved.y = Tensor(stream, out.shape, out.dtype);
    kernels::linear(saved.z, x, gate_->weight, stream);
    kernels::sigmoid_gate(saved.y, out, saved.z, stream);
    out = saved.y;
  }
  kernels::linear(y, out, o_proj_->weight, stream);
}

void Mixer::project(TensorView x, const Sequence& s, Saved& saved, Stream& stream) const {
  const auto& o = options_;
  const std::int64_t N = s.rows();
  const auto projected = [&](const Parameter* weight, std::int64_t n) {
    Tensor out(stream, {N, n * o.K}, x.dtype);
    kernels::linear(out, x, weight->weight, stream);
    return out;
  };
  const auto normalised = [&](const Tensor& in, Tensor& inv_rms, const Parameter* norm,
                              std::int64_t n) {
    Tensor out(stream, in.view().shape, x.dtype);
    inv_rms = Tensor(stream, {N * n}, wide_dtype(x.dtype));
    kernels::rms_norm(rows_of_heads(out, o.K), inv_rms, rows_of_heads(in, o.K), norm->weight, o.eps,
                      stream);
    return out;
  };
  saved.q = projected(q_proj_, o.H);
  saved.k = projected(k_proj_, o.G);
  saved.v = projected(v_proj_, o.G);
  if (o.use_qk_norm) {
    saved.q_projected = std::move(saved.q);
    saved.k_projected = std::move(saved.k);
    saved.q = normalised(saved.q_projected, saved.q_inv_rms, q_norm_, o.H);
    saved.k = normalised(saved.k_projected, saved.k_inv_rms, k_norm_, o.G);
  }
  if (o.use_rope) {
    kernels::apply_rope(heads(saved.q, s, o.H, o.K), s.cos, s.sin, /*inverse=*/false, stream);
    kernels::apply_rope(heads(saved.k, s, o.G, o.K), s.cos, s.sin, /*inverse=*/false, stream);
  }
  if (o.scaling.kind == LogitsScaling::Kind::kHype) {
    kernels::scale_by_position(heads(saved.q, s, o.H, o.K), s.first_position, o.scaling.value,
                               stream);
  }
}

void Mixer::mix(const Sequence& s, Saved& saved, MixerCache* cache, Stream& stream) const {
  saved.o = Tensor(stream, {s.rows(), options_.H * options_.K}, saved.q.view().dtype);
  if (options_.type == MixerType::kLightning) {
    scan(s, saved, cache, stream);
  } else {
    attend(s, saved, cache, stream);
  }
  if (cache != nullptr) cache->length += s.T;
}

void Mixer::attend(const Sequence& s, Saved& saved, MixerCache* cache, Stream& stream) const {
  const auto& o = options_;
  const double constant = o.scaling.kind == LogitsScaling::Kind::kConstant ? o.scaling.value : 1.0;
  TensorView k = heads(saved.k, s, o.G, o.K);
  TensorView v = heads(saved.v, s, o.G, o.K);
  std::int64_t cached = 0;
  if (cache != nullptr) {
    cached = cache->length;
    const std::int64_t end = cached + s.T;
    copy(cache->k.view().slice(0, cached, end), k, stream);
    copy(cache->v.view().slice(0, cached, end), v, stream);
    k = cache->k.view().slice(0, 0, end);
    v = cache->v.view().slice(0, 0, end);
  }
  saved.lse = Tensor(stream, {s.T, s.B, o.H}, wide_dtype(saved.q.view().dtype));
  kernels::softmax_attention(heads(saved.o, s, o.H, o.K), saved.lse, heads(saved.q, s, o.H, o.K), k,
                             v, scale_of(o) * constant, attention_mask(s, cached), stream);
}

void Mixer::scan(const Sequence& s, Saved& saved, MixerCache* cache, Stream& stream) const {
  const auto& o = options_;
  Tensor next;
  if (cache != nullptr) next = Tensor(stream, cache->state.view().shape, cache->state.view().dtype);
  kernels::lightning_attention(heads(saved.o, s, o.H, o.K), next, heads(saved.q, s, o.H, o.K),
                               heads(saved.k, s, o.G, o.K), heads(saved.v, s, o.G, o.K),
                               cache != nullptr ? cache->state.view() : TensorView{},
                               lightning_options(o, s), stream);
  if (cache != nullptr) cache->state = std::move(next);
}

void Mixer::backward(TensorView dx, TensorView dy, TensorView x, const Sequence& s, Saved& saved,
                     Stream& stream) const {
  const auto like = [&](const Tensor& t) { return Tensor(stream, t.view().shape, t.view().dtype); };
  bool accumulate = false;
  const auto add_input_gradient = [&](const Parameter* p, TensorView d_out) {
    if (dx.empty()) return;
    kernels::linear_backward_input(dx, d_out, p->weight, accumulate, stream);
    accumulate = true;
  };

  const TensorView mixed = o_norm_ != nullptr ? saved.n : saved.o;
  const TensorView out = gate_ != nullptr ? saved.y : mixed;
  Tensor d_o = like(saved.o);
  kernels::linear_backward_input(d_o, dy, o_proj_->weight, /*accumulate=*/false, stream);
  add_matrix_gradient(*o_proj_, dy, out, stream);
  if (gate_ != nullptr) {
    kernels::sigmoid_gate_backward(d_o, saved.z, d_o, mixed, saved.z, stream);  // z becomes dz
    add_matrix_gradient(*gate_, saved.z, x, stream);
    add_input_gradient(gate_, saved.z);
  }
  if (o_norm_ != nullptr) {
    kernels::rms_norm_backward(d_o, o_norm_->grad, d_o, saved.o, o_norm_->weight, saved.o_inv_rms,
                               /*accumulate=*/false, stream);
  }
  Tensor dq = like(saved.q), dk = like(saved.k), dv = like(saved.v);
  backward_mix(dq, dk, dv, d_o, s, saved, stream);
  backward_heads(dq, q_norm_, saved.q_projected, saved.q_inv_rms, s, stream);
  backward_heads(dk, k_norm_, saved.k_projected, saved.k_inv_rms, s, stream);
  add_matrix_gradient(*q_proj_, dq, x, stream);
  add_matrix_gradient(*k_proj_, dk, x, stream);
  add_matrix_gradient(*v_proj_, dv, x, stream);
  add_input_gradient(q_proj_, dq);
  add_input_gradient(k_proj_, dk);
  add_input_gradient(v_proj_, dv);
  saved = Saved();
}

void Mixer::backward_mix(TensorView dq, TensorView dk, TensorView dv, TensorView d_o,
                         const Sequence& s, const Saved& saved, Stream& stream) const {
  const auto& o = options_;
  const TensorView q = heads(saved.q, s, o.H, o.K), k = heads(saved.k, s, o.G, o.K),
                   v = heads(saved.v, s, o.G, o.K);
  const TensorView dq4 = heads(dq, s, o.H, o.K), dk4 = heads(dk, s, o.G, o.K),
                   dv4 = heads(dv, s, o.G, o.K);
  const TensorView d_o4 = heads(d_o, s, o.H, o.K);
  if (o.type == MixerType::kLightning) {
    kernels::lightning_attention_backward({dq4, dk4, dv4, {}}, d_o4, {}, {q, k, v, {}},
                                          lightning_options(o, s), stream);
    return;
  }
  kernels::softmax_attention_backward({dq4, dk4, dv4}, d_o4,
                                      {q, k, v, heads(saved.o, s, o.H, o.K), saved.lse},
                                      scale_of(o), attention_mask(s, 0), stream);
}

void Mixer::backward_heads(TensorView d, const Parameter* norm, const Tensor& projected,
                           const Tensor& inv_rms, const Sequence& s, Stream& stream) const {
  const auto& o = options_;
  if (o.use_rope) {
    kernels::apply_rope(heads(d, s, d.size() / (s.rows() * o.K), o.K), s.cos, s.sin,
                        /*inverse=*/true, stream);
  }
  if (norm == nullptr) return;
  kernels::rms_norm_backward(rows_of_heads(d, o.K), norm->grad, rows_of_heads(d, o.K),
                             rows_of_heads(projected, o.K), norm->weight, inv_rms,
                             /*accumulate=*/false, stream);
}

}  // namespace halo::model
