#pragma once
#include "kernels/cuda/cudnn_attention.h"

namespace halo::kernels::cuda {

/// How much memory one call of cuDNN may take for the logits' gradients when dq is summed in a fixed order, in bytes.
inline constexpr std::int64_t kLogitGradientBytes = std::int64_t{2} << 30;

/// softmax_attention and its backward pass by cuDNN. Each returns whether cuDNN took the call, which depends on shapes,
/// strides and the mask alone; if not, outputs hold nothing yet.
[[nodiscard]] bool softmax_attention_by_cudnn(const AttentionForward& x, double scale,
                                              const AttentionMask& mask, Stream& stream);
[[nodiscard]] bool softmax_attention_backward_by_cudnn(
    const AttentionGradients& gradients, TensorView d_o, const AttentionForward& x, double scale,
    const AttentionMask& mask, SumOrder order, Stream& stream,
    std::int64_t logit_gradient_bytes = kLogitGradientBytes);

}  // namespace halo::kernels::cuda
