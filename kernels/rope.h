#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// Cosines and sines of rotary position embeddings: angle = (first_position + t) * theta^(-2i/K), i < K/2.
///
/// Shapes   cos, sin (T, K/2) in the dtype of the activations.
/// Numerics angles in float32 (float64 in FP64), rounded once after cos and sin.
/// Source   Su et al. 2021; oracle `rope_tables`.
void rope_tables(TensorView cos, TensorView sin, std::int64_t first_position, double theta,
                 Stream& stream);

/// Rotates the halves of each head: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin).
///
/// Shapes   x (T, B, H, K), changed in place, dense; K even; cos, sin (T, K/2).
/// `inverse` rotates back, which is also the backward pass.
/// Source   oracle `apply_rope`.
void apply_rope(TensorView x, TensorView cos, TensorView sin, bool inverse, Stream& stream);

/// HyPE's logits scaling: x[t] *= log(first_position + t + base) / log(base), in float64 (one rounding).
/// x (T, B, H, K). Source: HALO, arXiv 2601.22156; oracle `attn_mixer` (scaling). Throws Error unless base > 1.
void scale_by_position(TensorView x, std::int64_t first_position, double base, Stream& stream);

namespace cpu {
void rope_tables(TensorView cos, TensorView sin, std::int64_t first_position, double theta,
                 Stream& stream);
void apply_rope(TensorView x, TensorView cos, TensorView sin, bool inverse, Stream& stream);
void scale_by_position(TensorView x, std::int64_t first_position, double base, Stream& stream);
}  // namespace cpu
namespace cuda {
void rope_tables(TensorView cos, TensorView sin, std::int64_t first_position, double theta,
                 Stream& stream);
void apply_rope(TensorView x, TensorView cos, TensorView sin, bool inverse, Stream& stream);
void scale_by_position(TensorView x, std::int64_t first_position, double base, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
