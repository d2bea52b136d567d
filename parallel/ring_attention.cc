#include "parallel/ring_attention.h"

#include <algorithm>

#include "core/base/host_access.h"
#include "kernels/gates.h"
#include "kernels/optimizer.h"

namespace halo::parallel {
namespace {

TensorView part(const TensorView& x, const Fragment& fragment) {
  return x.slice(0, fragment.local_begin, fragment.local_end());
}

Tensor like(const TensorView& x, Stream& stream) { return {stream, x.shape, x.dtype}; }

/// to += from, both dense.
void add(const TensorView& to, const TensorView& from, Stream& stream) {
  kernels::add(to, to, from, stream);
}

}  // namespace

int RingAttention::holder(int step) const {
  return (ranks_.rank() - step + ranks_.size()) % ranks_.size();
}

comm::Work RingAttention::pass_on(const std::vector<TensorView>& out,
                                  const std::vector<TensorView>& in) const {
  const int P = ranks_.size(), r = ranks_.rank();
  std::vector<comm::Message> sends, receives;
  for (const TensorView& x : out) sends.push_back({(r + 1) % P, x});
  for (const TensorView& x : in) receives.push_back({(r + P - 1) % P, x});
  return ranks_.exchange(sends, receives);
}

RingAttention::Mask RingAttention::mask(const Fragment& queries, const Fragment& keys) const {
  Mask result;
  if (keys.begin > queries.begin) return result;
  // Keys of an earlier fragment are seen by all queries, as if those stood after the last of them.
  result.mask.query_offset = keys.index == queries.index ? 0 : keys.length();
  result.sees_any = true;
  if (call_.first_key.empty()) return result;
  const OnHost on_host(part(call_.first_key, queries), stream_);
  const TensorView& first = on_host;
  const std::int64_t B = first.dim(1);
  std::vector<std::int32_t> first_key(static_cast<std::size_t>(first.size()));
  for (std::int64_t t = 0; t < first.dim(0); ++t) {
    for (std::int64_t b = 0; b < B; ++b) {
      const auto global =
          static_cast<const std::int32_t*>(first.data)[t * first.stride(0) + b * first.stride(1)];
      first_key[static_cast<std::size_t>(t * B + b)] =
          static_cast<std::int32_t>(global - keys.begin);
    }
  }
  result.sees_any = std::ranges::any_of(
      first_key, [&](std::int32_t first_seen) { return first_seen < keys.length(); });
  result.first_key = Tensor::copy_of(stream_, view(first_key.data(), first.shape));
  result.mask.first_key = result.first_key;
  return result;
}

void RingAttention::forward(TensorView o, TensorView lse, TensorView q, TensorView k,
                            TensorView v) {
  const int P = ranks_.size();
  Keys held, next{like(k, stream_), like(v, stream_)};
  std::vector<bool> begun(own_.size(), false);
  for (int step = 0; step < P; ++step) {
    const TensorView k_now = step == 0 ? k : held.k.view(), v_now = step == 0 ? v : held.v.view();
    comm::Work transfer;
    if (step + 1 < P) transfer = pass_on({k_now, v_now}, {next.k, next.v});
    const std::vector<Fragment> theirs = cut_.of_rank(holder(step));
    for (std::size_t i = 0; i < own_.size(); ++i) {
      const Fragment& queries = own_[i];
      for (auto keys = theirs.rbegin(); keys != theirs.rend(); ++keys) {  // the diagonal first
        const Mask seen = mask(queries, *keys);
        if (!seen.sees_any) continue;
        const auto attend = [&](const TensorView& to, const TensorView& statistics) {
          kernels::softmax_attention(to, statistics, part(q, queries), part(k_now, *keys),
                                     part(v_now, *keys), call_.scale, seen.mask, stream_);
        };
        if (!begun[i]) {
          attend(part(o, queries), part(lse, queries));
          begun[i] = true;
          continue;
        }
        const Tensor o_part = like(part(o, queries), stream_),
                     lse_part = like(part(lse, queries), stream_);
        attend(o_part, lse_part);
        kernels::merge_attention(part(o, queries), part(lse, queries), o_part, lse_part, stream_);
      }
    }
    transfer.wait();
    std::swap(held, next);
    if (step == 0 && P > 2) next = {like(k, stream_), like(v, stream_)};
  }
}

void RingAttention::backward(const kernels::AttentionGradients& gradients, TensorView d_o,
                             const kernels::AttentionForward& x) {
  const int P = ranks_.size();
  const DType wide = wide_dtype(x.k.dtype);
  fill_zero(gradients.dq, stream_);
  Keys held, next{like(x.k, stream_), like(x.v, stream_)};
  // Of the keys at hand: what earlier ranks have summed, and room for what comes with the next ones.
  Tensor dk = Tensor::zeros(stream_, x.k.shape, wide), dv = Tensor::zeros(stream_, x.k.shape, wide);
  Tensor dk_next(stream_, x.k.shape, wide), dv_next(stream_, x.k.shape, wide);
  comm::Work sums_arrive;
  for (int step = 0; step < P; ++step) {
    const TensorView k_now = step == 0 ? x.k : held.k.view();
    const TensorView v_now = step == 0 ? x.v : held.v.view();
    comm::Work transfer;
    if (step + 1 < P) transfer = pass_on({k_now, v_now}, {next.k, next.v});
    Tensor dk_part = Tensor::zeros(stream_, x.k.shape, x.k.dtype);
    Tensor dv_part = Tensor::zeros(stream_, x.k.shape, x.k.dtype);
    for (const Fragment& queries : own_) {
      for (const Fragment& keys : cut_.of_rank(holder(step))) {
        const Mask seen = mask(queries, keys);
        if (!seen.sees_any) continue;
        const Tensor dq_pair = like(part(x.q, queries), stream_);
        const Tensor dk_pair = like(part(k_now, keys), stream_),
                     dv_pair = like(part(v_now, keys), stream_);
        kernels::softmax_attention_backward(
            {dq_pair, dk_pair, dv_pair}, part(d_o, queries),
            {part(x.q, queries), part(k_now, keys), part(v_now, keys), part(x.o, queries),
             part(x.lse, queries)},
            call_.scale, seen.mask, stream_);
        add(part(gradients.dq, queries), dq_pair, stream_);
        add(part(dk_part, keys), dk_pair, stream_);
        add(part(dv_part, keys), dv_pair, stream_);
      }
    }
    sums_arrive.wait();
    if (step > 0) {
      std::swap(dk, dk_next);
      std::swap(dv, dv_next);
    }
    add(dk, dk_part, stream_);
    add(dv, dv_part, stream_);
    sums_arrive = pass_on({dk, dv}, {dk_next, dv_next});
    transfer.wait();
    std::swap(held, next);
    if (step == 0 && P > 2) next = {like(x.k, stream_), like(x.v, stream_)};
  }
  sums_arrive.wait();
  kernels::cast(gradients.dk, dk_next, stream_);
  kernels::cast(gradients.dv, dv_next, stream_);
}

}  // namespace halo::parallel
