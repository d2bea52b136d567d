#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// Which keys a query sees. Query t (row t of q) stands at key index t + query_offset and sees keys j <= t +
/// query_offset; of these only j >= first_key[t, b] when document masks are on.
struct AttentionMask {
  std::int64_t query_offset = 0;  // keys that precede the first query (a cache), >= 0
  TensorView first_key;           // (T, B) int32, or empty for no document mask
};

/// Causal softmax attention with grouped key/value heads: o = softmax(scale * q k^T) v, query head h reading key/value
/// head h * G / H.
///
/// Shapes   q, o (T, B, H, K); k, v (S, B, G, K); lse (T, B, H) wide: log sum exp of each row's scaled logits. G divides
///          H. All dense in K; outer axes may be strided. T, B, S >= 0.
/// Numerics blocks of keys at a time, never T x S in memory; softmax statistics in float32 (float64 in FP64). A query
///          that sees no key gives o = 0 and lse = -inf.
/// Aliasing outputs overlap no input.
/// Throws   Error when shapes, dtypes or devices disagree.
/// Source   Dao et al. 2022 (FlashAttention); oracle `softmax_attention`.
void softmax_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       double scale, const AttentionMask& mask, Stream& stream);

/// Writes dq (as q), dk, dv (as k, v), from do (as o) and what the forward pass had and gave. Probabilities are computed
/// again from lse. Bits do not depend on the number of threads; a GPU's repeat
/// when the stream sums in a fixed order.
struct AttentionGradients {
  TensorView dq, dk, dv;
};
struct AttentionForward {
  TensorView q, k, v, o, lse;
};
void softmax_attention_backward(const AttentionGradients& gradients, TensorView d_o,
                                const AttentionForward& forward, double scale,
                                const AttentionMask& mask, Stream& stream);

/// Joins attention over two disjoint sets of keys: o and lse become those over both.
/// Shapes   o, o_part (T, B, H, K); lse, lse_part (T, B, H) wide; -inf marks a row that saw no key. Outer axes of o and
///          o_part may be strided; the others are dense.
/// Source   Milakov & Gimelshein 2018 (online softmax).
void merge_attention(TensorView o, TensorView lse, TensorView o_part, TensorView lse_part,
                     Stream& stream);

namespace cpu {
void softmax_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       double scale, const AttentionMask& mask, Stream& stream);
void softmax_attention_backward(const AttentionGradients& gradients, TensorView d_o,
                                const AttentionForward& forward, double scale,
                                const AttentionMask& mask, Stream& stream);
void merge_attention(TensorView o, TensorView lse, TensorView o_part, TensorView lse_part,
                     Stream& stream);
}  // namespace cpu
namespace cuda {
void softmax_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       double scale, const AttentionMask& mask, Stream& stream);
void softmax_attention_backward(const AttentionGradients& gradients, TensorView d_o,
                                const AttentionForward& forward, double scale,
                                const AttentionMask& mask, Stream& stream);
void merge_attention(TensorView o, TensorView lse, TensorView o_part, TensorView lse_part,
                     Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
