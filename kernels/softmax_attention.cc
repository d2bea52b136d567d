#include "kernels/softmax_attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/checks.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

/// Shapes and dtypes that the forward and the backward pass share.
void require_inputs(std::string_view op, const AttentionForward& x, double scale,
                    const AttentionMask& mask) {
  HALO_REQUIRE(x.q.rank() == 4, str(op, ": q is ", to_string(x.q.shape), ", not (T, B, H, K)"));
  HALO_REQUIRE(x.k.rank() == 4, str(op, ": k is ", to_string(x.k.shape), ", not (S, B, G, K)"));
  const std::int64_t T = x.q.dim(0), B = x.q.dim(1), H = x.q.dim(2), K = x.q.dim(3);
  const std::int64_t S = x.k.dim(0), G = x.k.dim(2);
  HALO_REQUIRE(H > 0 && K > 0 && G > 0 && H % G == 0,
               str(op, ": ", H, " query heads of ", K, " channels over ", G, " key heads"));
  const DType dtype = x.q.dtype;
  const Device device = x.q.device;
  require_strided_operand(op, "q", x.q, x.q.shape, dtype, device);
  require_strided_operand(op, "k", x.k, {S, B, G, K}, dtype, device);
  require_strided_operand(op, "v", x.v, {S, B, G, K}, dtype, device);
  require_strided_operand(op, "o", x.o, {T, B, H, K}, dtype, device);
  require_strided_operand(op, "lse", x.lse, {T, B, H}, wide_dtype(dtype), device);
  if (!mask.first_key.empty())
    require_strided_operand(op, "first_key", mask.first_key, {T, B}, DType::kInt32, device);
  HALO_REQUIRE(mask.query_offset >= 0, str(op, ": query_offset is ", mask.query_offset));
  HALO_REQUIRE(std::isfinite(scale), str(op, ": scale is ", scale));
}

/// Whether the op ends here, its products over what the mask shows, documents left aside, counted. `products` of K
/// multiplications each for a pair of a query and a key.
bool attention_counted(std::string_view op, int products, const AttentionForward& x,
                       const AttentionMask& mask, Stream& stream) {
  const auto T = static_cast<double>(x.q.dim(0)), S = static_cast<double>(x.k.dim(0));
  const double unseen = std::max(0.0, S - 1 - static_cast<double>(mask.query_offset));  // by t = 0
  const double masked = std::min(T, unseen);  // queries before the one that sees every key
  const double pairs = T * S - masked * (unseen + unseen - masked + 1) / 2;
  const double heads = static_cast<double>(x.q.dim(1)) * static_cast<double>(x.q.dim(2));
  const double flops = 2.0 * products * pairs * heads * static_cast<double>(x.q.dim(3));
  return only_counted(op, KernelWork::Kind::kAttention, flops, {x.q, x.k, x.v, x.o}, stream) &&
         !counts_temporaries(x.q.dtype);
}

}  // namespace

void softmax_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       double scale, const AttentionMask& mask, Stream& stream) {
  require_inputs("softmax_attention", {q, k, v, o, lse}, scale, mask);
  if (attention_counted("softmax_attention", 2, {q, k, v, o, lse}, mask, stream)) return;
  HALO_ON_DEVICE(stream, cpu::softmax_attention(o, lse, q, k, v, scale, mask, stream),
                 cuda::softmax_attention(o, lse, q, k, v, scale, mask, stream));
}

void softmax_attention_backward(const AttentionGradients& gradients, TensorView d_o,
                                const AttentionForward& forward, double scale,
                                const AttentionMask& mask, Stream& stream) {
  constexpr const char* kOp = "softmax_attention_backward";
  require_inputs(kOp, forward, scale, mask);
  const DType dtype = forward.q.dtype;
  const Device device = forward.q.device;
  require_strided_operand(kOp, "do", d_o, forward.q.shape, dtype, device);
  require_strided_operand(kOp, "dq", gradients.dq, forward.q.shape, dtype, device);
  require_strided_operand(kOp, "dk", gradients.dk, forward.k.shape, dtype, device);
  require_strided_operand(kOp, "dv", gradients.dv, forward.k.shape, dtype, device);
  if (attention_counted(kOp, 5, forward, mask, stream)) return;
  HALO_ON_DEVICE(stream,
                 cpu::softmax_attention_backward(gradients, d_o, forward, scale, mask, stream),
                 cuda::softmax_attention_backward(gradients, d_o, forward, scale, mask, stream));
}

void merge_attention(TensorView o, TensorView lse, TensorView o_part, TensorView lse_part,
                     Stream& stream) {
  constexpr const char* kOp = "merge_attention";
  HALO_REQUIRE(o.rank() == 4, str(kOp, ": o is ", to_string(o.shape), ", not (T, B, H, K)"));
  const Shape rows{o.dim(0), o.dim(1), o.dim(2)};
  require_strided_operand(kOp, "o", o, o.shape, o.dtype, o.device);
  require_strided_operand(kOp, "o_part", o_part, o.shape, o.dtype, o.device);
  require_operand(kOp, "lse", lse, rows, wide_dtype(o.dtype), o.device);
  require_operand(kOp, "lse_part", lse_part, rows, wide_dtype(o.dtype), o.device);
  if (only_counted(kOp, {o, o, o_part}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::merge_attention(o, lse, o_part, lse_part, stream),
                 cuda::merge_attention(o, lse, o_part, lse_part, stream));
}

}  // namespace halo::kernels
