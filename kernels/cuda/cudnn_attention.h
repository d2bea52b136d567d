#pragma once
#include "kernels/softmax_attention.h"

namespace halo::kernels::cuda {

/// What both passes of cuDNN's attention are told. Queries see every key, or causally those before the last S - T and
/// their own. bfloat16 but for lse; rows of K start at multiples of 16 bytes.
struct CudnnAttention {
  TensorView q, k, v, o;  // as softmax_attention has them
  TensorView lse;         // (T, B, H) of any strides
  bool causal = false;
  float scale = 1;
};

/// Whether this build has cuDNN.
[[nodiscard]] bool has_cudnn();

/// Each returns whether cuDNN takes the call; if not, nothing was done. The first call of a shape takes 40 ms and more, to
/// plan it, and cannot be captured into a CUDA graph; later ones can. Throws Error when cuDNN fails.
///
/// The backward pass sums dq by atomic additions in any order, or from all of its logits' gradients, in 2 bytes each.
[[nodiscard]] bool cudnn_attend(const CudnnAttention& x, Stream& stream);
[[nodiscard]] bool cudnn_differentiate(const AttentionGradients& gradients, TensorView d_o,
                                       const CudnnAttention& x, SumOrder order, Stream& stream);

}  // namespace halo::kernels::cuda
