#include "parallel/gathered_attention.h"

#include "kernels/gates.h"
#include "kernels/optimizer.h"

namespace halo::parallel {
namespace {

TensorView local(const TensorView& x, const Fragment& fragment) {
  return x.slice(0, fragment.local_begin, fragment.local_end());
}
TensorView global(const TensorView& x, const Fragment& fragment) {
  return x.slice(0, fragment.begin, fragment.end);
}

Shape with_tokens(const TensorView& x, std::int64_t tokens) {
  Shape shape = x.shape;
  shape[0] = tokens;
  return shape;
}

}  // namespace

GatheredAttention::Keys GatheredAttention::gather(const TensorView& k, const TensorView& v) const {
  const Shape whole = with_tokens(k, cut_.tokens());
  Keys all{Tensor(stream_, whole, k.dtype), Tensor(stream_, whole, v.dtype)};
  std::vector<comm::Message> sends, receives;
  const auto move = [&](const TensorView& own, const TensorView& gathered) {
    for (const Fragment& fragment : cut_.fragments()) {
      if (fragment.rank == ranks_.rank()) {
        copy(global(gathered, fragment), local(own, fragment), stream_);
        for (int peer = 0; peer < ranks_.size(); ++peer)
          if (peer != ranks_.rank()) sends.push_back({peer, local(own, fragment)});
      } else {
        receives.push_back({fragment.rank, global(gathered, fragment)});
      }
    }
  };
  move(k, all.k);
  move(v, all.v);
  ranks_.exchange(sends, receives).wait();
  return all;
}

void GatheredAttention::reduce_scatter(TensorView own, const Tensor& sums) const {
  const Tensor by_rank(stream_, sums.view().shape, sums.view().dtype);
  const std::int64_t each = cut_.tokens_per_rank();
  for (const Fragment& fragment : cut_.fragments()) {
    const std::int64_t begin = fragment.rank * each + fragment.local_begin;
    copy(by_rank.view().slice(0, begin, begin + fragment.length()), global(sums, fragment),
         stream_);
  }
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks_.size()), own.size());
  const Tensor sum(stream_, own.shape, by_rank.view().dtype);
  ranks_.reduce_scatter(sum, by_rank, counts, comm::ReduceOp::kSum).wait();
  kernels::cast(own, sum, stream_);
}

kernels::AttentionMask GatheredAttention::mask(const Fragment& queries) const {
  return {queries.begin, call_.first_key.empty() ? TensorView{} : local(call_.first_key, queries)};
}

void GatheredAttention::forward(TensorView o, TensorView lse, TensorView q, TensorView k,
                                TensorView v) {
  const Keys all = gather(k, v);
  for (const Fragment& queries : own_) {
    kernels::softmax_attention(local(o, queries), local(lse, queries), local(q, queries),
                               all.k.view().slice(0, 0, queries.end),
                               all.v.view().slice(0, 0, queries.end), call_.scale, mask(queries),
                               stream_);
  }
}

void GatheredAttention::backward(const kernels::AttentionGradients& gradients, TensorView d_o,
                                 const kernels::AttentionForward& x) {
  const Keys all = gather(x.k, x.v);
  const DType wide = wide_dtype(x.k.dtype);
  const Tensor dk = Tensor::zeros(stream_, all.k.view().shape, wide);
  const Tensor dv = Tensor::zeros(stream_, all.v.view().shape, wide);
  for (const Fragment& queries : own_) {
    const Shape seen = with_tokens(x.k, queries.end);
    const Tensor dk_part(stream_, seen, x.k.dtype), dv_part(stream_, seen, x.k.dtype);
    kernels::softmax_attention_backward(
        {local(gradients.dq, queries), dk_part, dv_part}, local(d_o, queries),
        {local(x.q, queries), all.k.view().slice(0, 0, queries.end),
         all.v.view().slice(0, 0, queries.end), local(x.o, queries), local(x.lse, queries)},
        call_.scale, mask(queries), stream_);
    const TensorView dk_seen = dk.view().slice(0, 0, queries.end);
    const TensorView dv_seen = dv.view().slice(0, 0, queries.end);
    kernels::add(dk_seen, dk_seen, dk_part, stream_);
    kernels::add(dv_seen, dv_seen, dv_part, stream_);
  }
  reduce_scatter(gradients.dk, dk);
  reduce_scatter(gradients.dv, dv);
}

}  // namespace halo::parallel
