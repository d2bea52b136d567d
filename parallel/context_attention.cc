#include "parallel/context_attention.h"

#include "parallel/gathered_attention.h"
#include "parallel/ring_attention.h"

namespace halo::parallel {
namespace {

void require_local(const TensorView& q, const TensorView& k, const TensorView& v,
                   const SequenceCut& cut, const comm::Communicator& ranks) {
  HALO_REQUIRE(cut.ranks() == ranks.size(),
               str("a sequence cut for ", cut.ranks(), " ranks on ", ranks.size()));
  HALO_REQUIRE(q.rank() == 4 && q.dim(0) == cut.tokens_per_rank(),
               str("context attention: q is ", to_string(q.shape), " for ", cut.tokens_per_rank(),
                   " tokens"));
  HALO_REQUIRE(k.contiguous() && v.contiguous(), "context attention: keys must be dense");
}

}  // namespace

void context_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       const ContextAttentionCall& call, const SequenceCut& cut,
                       comm::Communicator& ranks, Stream& stream) {
  require_local(q, k, v, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::softmax_attention(o, lse, q, k, v, call.scale, {0, call.first_key}, stream);
  } else if (call.method == ContextAttentionMethod::kRing) {
    RingAttention(call, cut, ranks, stream).forward(o, lse, q, k, v);
  } else {
    GatheredAttention(call, cut, ranks, stream).forward(o, lse, q, k, v);
  }
}

void context_attention_backward(const kernels::AttentionGradients& gradients, TensorView d_o,
                                const kernels::AttentionForward& forward,
                                const ContextAttentionCall& call, const SequenceCut& cut,
                                comm::Communicator& ranks, Stream& stream) {
  require_local(forward.q, forward.k, forward.v, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::softmax_attention_backward(gradients, d_o, forward, call.scale, {0, call.first_key},
                                        stream);
  } else if (call.method == ContextAttentionMethod::kRing) {
    RingAttention(call, cut, ranks, stream).backward(gradients, d_o, forward);
  } else {
    GatheredAttention(call, cut, ranks, stream).backward(gradients, d_o, forward);
  }
}

}  // namespace halo::parallel
