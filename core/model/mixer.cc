#include "core/model/mixer.h"

#include <cmath>

#include "kernels/gates.h"
#include "kernels/lightning_attention.h"
#include "kernels/matmul.h"
#include "kernels/norm_rope.h"
#include "kernels/rope.h"
#include "kernels/softmax_attention.h"
#include "parallel/placement.h"

namespace halo::model {
namespace {

double scale_of(const MixerOptions& options) {
  return 1.0 / std::sqrt(static_cast<double>(options.K));
}

/// (N, heads * K) or (N * heads, K) seen as (T, B, heads, K).
TensorView heads(TensorView x, const Sequence& s, std::int64_t n, std::int64_t K) {
  return x.reshape({s.T, s.B, n, K});
}

/// The sequence on one rank, which holds all tokens.
parallel::SequenceCut cut_of(const Sequence& s) {
  return s.cut ? *s.cut : parallel::SequenceCut(s.T, 1, parallel::SequenceCut::Kind::kContiguous);
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

KeyHeads::KeyHeads(std::int64_t queries, std::int64_t keys, int rank, int ranks) {
  const parallel::Range own = parallel::even_share(queries, rank, ranks);
  const parallel::Range held = parallel::key_heads_of(queries, keys, rank, ranks);
  for (std::int64_t h = own.begin; h < own.end; ++h)
    read_.push_back(h * keys / queries - held.begin);
  for (std::int64_t h = 0; h < own.size(); ++h)
    even_ = even_ && read_[static_cast<std::size_t>(h)] == h * held.size() / own.size();
  even_ = even_ && held.size() > 0 && own.size() % held.size() == 0;
}

parallel::Gathered KeyHeads::spread(const TensorView& x, Stream& stream) const {
  if (even_) return parallel::Gathered(x);
  Tensor all(stream, {x.dim(0), x.dim(1), std::ssize(read_), x.dim(3)}, x.dtype);
  for (std::int64_t h = 0; h < std::ssize(read_); ++h) {
    const std::int64_t g = read_[static_cast<std::size_t>(h)];
    copy(all.view().slice(2, h, h + 1), x.slice(2, g, g + 1), stream);
  }
  return parallel::Gathered(std::move(all));
}

void KeyHeads::collect(const TensorView& dx, const TensorView& d, Stream& stream) const {
  const Shape head{d.dim(0), d.dim(1), 1, d.dim(3)};
  Tensor sum(stream, head, d.dtype), part(stream, head, d.dtype);
  for (std::int64_t g = 0; g < dx.dim(2); ++g) {
    fill_zero(sum, stream);
    for (std::int64_t h = 0; h < std::ssize(read_); ++h) {
      if (read_[static_cast<std::size_t>(h)] != g) continue;
      copy(part, d.slice(2, h, h + 1), stream);
      kernels::add(sum, sum, part, stream);
    }
    copy(dx.slice(2, g, g + 1), sum, stream);
  }
}

Mixer::Mixer(MixerOptions options, const ParameterLookup& parameters, const std::string& prefix,
             const ModelAxes& axes)
    : axes_(&axes),
      options_(std::move(options)),
      key_heads_(options_.H, options_.G, axes.tensor.rank(), axes.tensor.size()),
      q_proj_(&parameters(prefix + "q_proj.weight")),
      k_proj_(&parameters(prefix + "k_proj.weight")),
      v_proj_(&parameters(prefix + "v_proj.weight")),
      o_proj_(&parameters(prefix + "o_proj.weight")) {
  const int rank = axes.tensor.rank(), ranks = axes.tensor.size();
  const std::int64_t all_channels = options_.H * options_.K;
  const parallel::Range own = parallel::even_share(options_.H, rank, ranks);
  options_.G = parallel::key_heads_of(options_.H, options_.G, rank, ranks).size();
  options_.H = own.size();
  if (!options_.slopes.empty())
    options_.slopes = {options_.slopes.begin() + own.begin, options_.slopes.begin() + own.end};
  if (options_.use_qk_norm) {
    q_norm_ = &parameters(prefix + "q_norm.weight");
    k_norm_ = &parameters(prefix + "k_norm.weight");
  }
  if (options_.use_output_gate) {
    const bool lightning = options_.type == MixerType::kLightning;
    gate_ = &parameters(prefix + (lightning ? "z_proj.weight" : "o_gate.weight"));
  }
  const Parameter* norm =
      options_.use_output_norm ? &parameters(prefix + "o_norm.weight") : nullptr;
  output_ = OutputGate(norm, gate_ != nullptr, options_.eps, all_channels, axes.tensor);
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

void Mixer::forward(TensorView y, TensorView addend, TensorView x, const Sequence& sequence,
                    Saved& saved, MixerCache* cache, Stream& stream) const {
  const parallel::Gathered all = axes_->tensor.gather(x, stream);
  project(all, sequence, saved, stream);
  turn_heads(sequence, saved, stream);
  mix(sequence, saved, cache, stream);
  if (gate_ != nullptr) {
    saved.z = Tensor(stream, saved.o.view().shape, saved.o.view().dtype);
    kernels::linear(saved.z, all, gate_->weight, stream);
  }
  {
    const parallel::Gathered mixed = output_.forward(saved.output, saved.o, saved.z, stream);
    axes_->tensor.add_reduce_scatter(
        y, addend,
        [&](const TensorView& out, const TensorView& added) {
          kernels::linear(out, mixed, o_proj_->weight, stream, added);
        },
        stream);
  }
  if (!saved.products_alone || q_norm_ == nullptr) return;
  saved.q.reset();
  saved.k.reset();
}

void Mixer::project(TensorView x, const Sequence& s, Saved& saved, Stream& stream) const {
  const auto& o = options_;
  const std::int64_t N = s.rows();
  const auto projected = [&](const Parameter* weight, std::int64_t n) {
    Tensor out(stream, {N, n * o.K}, x.dtype);
    kernels::linear(out, x, weight->weight, stream);
    return out;
  };
  saved.q = projected(q_proj_, o.H);
  saved.k = projected(k_proj_, o.G);
  saved.v = projected(v_proj_, o.G);
  if (!o.use_qk_norm) return;
  saved.q_projected = std::move(saved.q);
  saved.k_projected = std::move(saved.k);
}

kernels::HeadRotation Mixer::rotation(const Sequence& s) const {
  return options_.use_rope ? kernels::HeadRotation{s.cos, s.sin} : kernels::HeadRotation{};
}

void Mixer::turn_heads(const Sequence& s, Saved& saved, Stream& stream) const {
  const auto& o = options_;
  const auto turned = [&](const Tensor& in, Tensor& inv_rms, const Parameter* norm,
                          std::int64_t n) {
    Tensor out(stream, in.view().shape, in.view().dtype);
    inv_rms = Tensor(stream, {s.rows() * n}, wide_dtype(in.view().dtype));
    kernels::norm_rope(heads(out, s, n, o.K), inv_rms, heads(in, s, n, o.K), norm->weight, o.eps,
                       rotation(s), stream);
    return out;
  };
  if (o.use_qk_norm) {
    saved.q = turned(saved.q_projected, saved.q_inv_rms, q_norm_, o.H);
    saved.k = turned(saved.k_projected, saved.k_inv_rms, k_norm_, o.G);
  } else if (o.use_rope) {
    kernels::apply_rope(heads(saved.q, s, o.H, o.K), s.cos, s.sin, /*inverse=*/false, stream);
    kernels::apply_rope(heads(saved.k, s, o.G, o.K), s.cos, s.sin, /*inverse=*/false, stream);
  }
  if (o.scaling.kind != LogitsScaling::Kind::kHype) return;
  const TensorView q = heads(saved.q, s, o.H, o.K);
  for (const parallel::Fragment& f : s.fragments()) {
    kernels::scale_by_position(q.slice(0, f.local_begin, f.local_end()), f.begin, o.scaling.value,
                               stream);
  }
}

parallel::ContextAttentionCall Mixer::attention_call(const Sequence& s) const {
  const auto& o = options_;
  const double constant = o.scaling.kind == LogitsScaling::Kind::kConstant ? o.scaling.value : 1.0;
  return {axes_->attention, scale_of(o) * constant, s.document_start};
}

parallel::ContextLightningCall Mixer::lightning_call(const Sequence& s) const {
  return {axes_->state, options_.slopes, scale_of(options_), s.document_start};
}

void Mixer::mix(const Sequence& s, Saved& saved, MixerCache* cache, Stream& stream) const {
  const auto& o = options_;
  const DType dtype = saved.q.view().dtype;
  saved.o = Tensor(stream, {s.rows(), o.H * o.K}, dtype);
  if (o.type == MixerType::kAttention)
    saved.lse = Tensor(stream, {s.T, s.B, o.H}, wide_dtype(dtype));
  if (cache != nullptr) return mix_cached(s, saved, *cache, stream);
  const TensorView out = heads(saved.o, s, o.H, o.K), q = heads(saved.q, s, o.H, o.K);
  const parallel::Gathered k = key_heads_.spread(heads(saved.k, s, o.G, o.K), stream);
  const parallel::Gathered v = key_heads_.spread(heads(saved.v, s, o.G, o.K), stream);
  const parallel::SequenceCut cut = cut_of(s);
  if (o.type == MixerType::kAttention) {
    parallel::context_attention(out, saved.lse, q, k, v, attention_call(s), cut, *axes_->context,
                                stream);
    return;
  }
  if (cut.ranks() > 1)
    saved.states =
        Tensor(stream, {std::ssize(s.fragments()), s.B, o.H, o.K, o.K}, wide_dtype(dtype));
  parallel::context_lightning(out, saved.states, q, k, v, lightning_call(s), cut, *axes_->context,
                              stream);
}

void Mixer::mix_cached(const Sequence& s, Saved& saved, MixerCache& cache, Stream& stream) const {
  const auto& o = options_;
  HALO_REQUIRE(axes_->tensor.size() == 1 && !s.cut,
               "a cache belongs to a rank that computes alone");
  const TensorView out = heads(saved.o, s, o.H, o.K), q = heads(saved.q, s, o.H, o.K);
  const TensorView k = heads(saved.k, s, o.G, o.K), v = heads(saved.v, s, o.G, o.K);
  if (o.type == MixerType::kLightning) {
    Tensor next(stream, cache.state.view().shape, cache.state.view().dtype);
    kernels::lightning_attention(out, next, q, k, v, cache.state,
                                 {o.slopes, scale_of(o), s.document_start}, stream);
    cache.state = std::move(next);
  } else {
    const std::int64_t end = cache.length + s.T;
    copy(cache.k.view().slice(0, cache.length, end), k, stream);
    copy(cache.v.view().slice(0, cache.length, end), v, stream);
    kernels::softmax_attention(out, saved.lse, q, cache.k.view().slice(0, 0, end),
                               cache.v.view().slice(0, 0, end), attention_call(s).scale,
                               {cache.length, s.document_start}, stream);
  }
  cache.length += s.T;
}

void Mixer::backward(TensorView dx, TensorView dy, TensorView x, const Sequence& s, Saved& saved,
                     Stream& stream) const {
  const auto like = [&](const Tensor& t) { return Tensor(stream, t.view().shape, t.view().dtype); };
  if (saved.products_alone && q_norm_ != nullptr) turn_heads(s, saved, stream);
  Tensor d_o = like(saved.o);
  {
    const parallel::Gathered dy_all = axes_->tensor.gather(dy, stream);
    kernels::linear_backward_input(d_o, dy_all, o_proj_->weight, /*accumulate=*/false, stream);
    const parallel::Gathered mixed =
        output_.backward(d_o, saved.z, saved.output, saved.o, stream);  // z becomes dz
    add_matrix_gradient(*o_proj_, dy_all, mixed, stream);
  }
  const parallel::Gathered all = axes_->tensor.gather(x, stream);
  if (gate_ != nullptr) add_matrix_gradient(*gate_, saved.z, all, stream);
  Tensor dq = like(saved.q), dk = like(saved.k), dv = like(saved.v);
  backward_mix(dq, dk, dv, d_o, s, saved, stream);
  backward_heads(dq, q_norm_, saved.q_projected, saved.q_inv_rms, s, stream);
  backward_heads(dk, k_norm_, saved.k_projected, saved.k_inv_rms, s, stream);
  add_matrix_gradient(*q_proj_, dq, all, stream);
  add_matrix_gradient(*k_proj_, dk, all, stream);
  add_matrix_gradient(*v_proj_, dv, all, stream);
  if (!dx.empty()) {
    axes_->tensor.reduce_scatter(
        dx,
        [&](const TensorView& sums) {
          bool accumulate = false;
          const auto add = [&](const Parameter* p, const TensorView& d_out) {
            kernels::linear_backward_input(sums, d_out, p->weight, accumulate, stream);
            accumulate = true;
          };
          if (gate_ != nullptr) add(gate_, saved.z);
          add(q_proj_, dq);
          add(k_proj_, dk);
          add(v_proj_, dv);
        },
        stream);
  }
  saved = Saved();
}

void Mixer::backward_mix(TensorView dq, TensorView dk, TensorView dv, TensorView d_o,
                         const Sequence& s, const Saved& saved, Stream& stream) const {
  const auto& o = options_;
  const TensorView q = heads(saved.q, s, o.H, o.K), dq4 = heads(dq, s, o.H, o.K);
  const TensorView dk4 = heads(dk, s, o.G, o.K), dv4 = heads(dv, s, o.G, o.K);
  const TensorView d_o4 = heads(d_o, s, o.H, o.K);
  const parallel::Gathered k = key_heads_.spread(heads(saved.k, s, o.G, o.K), stream);
  const parallel::Gathered v = key_heads_.spread(heads(saved.v, s, o.G, o.K), stream);
  Tensor dk_spread, dv_spread;
  if (!key_heads_.even()) {
    dk_spread = Tensor(stream, k.view().shape, dk.dtype);
    dv_spread = Tensor(stream, v.view().shape, dv.dtype);
  }
  const TensorView dk_out = key_heads_.even() ? dk4 : dk_spread.view();
  const TensorView dv_out = key_heads_.even() ? dv4 : dv_spread.view();
  const parallel::SequenceCut cut = cut_of(s);
  if (o.type == MixerType::kLightning) {
    parallel::context_lightning_backward({dq4, dk_out, dv_out}, d_o4, {q, k, v, saved.states},
                                         lightning_call(s), cut, *axes_->context, stream);
  } else {
    parallel::context_attention_backward({dq4, dk_out, dv_out}, d_o4,
                                         {q, k, v, heads(saved.o, s, o.H, o.K), saved.lse},
                                         attention_call(s), cut, *axes_->context, stream);
  }
  if (key_heads_.even()) return;
  key_heads_.collect(dk4, dk_out, stream);
  key_heads_.collect(dv4, dv_out, stream);
}

void Mixer::backward_heads(TensorView d, const Parameter* norm, const Tensor& projected,
                           const Tensor& inv_rms, const Sequence& s, Stream& stream) const {
  const auto& o = options_;
  const TensorView dx = heads(d, s, d.size() / (s.rows() * o.K), o.K);
  if (norm != nullptr) {
    kernels::norm_rope_backward(dx, settled_gradient(*norm, stream),
                                projected.view().reshape(dx.shape), norm->weight, inv_rms,
                                rotation(s), stream);
  } else if (o.use_rope) {
    kernels::apply_rope(dx, s.cos, s.sin, /*inverse=*/true, stream);
  }
}

}  // namespace halo::model
