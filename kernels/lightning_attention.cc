#include "kernels/lightning_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/checks.h"
#include "kernels/lightning_waiting.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

void require_decays(std::string_view op, std::int64_t H, const LightningOptions& options) {
  HALO_REQUIRE(std::ssize(options.slopes) == H,
               str(op, ": ", options.slopes.size(), " slopes for ", H, " heads"));
  for (const double slope : options.slopes)
    HALO_REQUIRE(slope >= 0 && std::isfinite(slope), str(op, ": a slope of ", slope));
  HALO_REQUIRE(std::isfinite(options.scale), str(op, ": scale is ", options.scale));
}

void require_inputs(std::string_view op, const LightningForward& x,
                    const LightningOptions& options) {
  HALO_REQUIRE(x.q.rank() == 4, str(op, ": q is ", to_string(x.q.shape), ", not (T, B, H, K)"));
  HALO_REQUIRE(x.k.rank() == 4, str(op, ": k is ", to_string(x.k.shape), ", not (T, B, G, K)"));
  const std::int64_t T = x.q.dim(0), B = x.q.dim(1), H = x.q.dim(2), K = x.q.dim(3);
  const std::int64_t G = x.k.dim(2);
  HALO_REQUIRE(H > 0 && K > 0 && G > 0 && H % G == 0,
               str(op, ": ", H, " query heads of ", K, " channels over ", G, " key heads"));
  const DType dtype = x.q.dtype;
  const Device device = x.q.device;
  require_strided_operand(op, "q", x.q, x.q.shape, dtype, device);
  require_strided_operand(op, "k", x.k, {T, B, G, K}, dtype, device);
  require_strided_operand(op, "v", x.v, {T, B, G, K}, dtype, device);
  if (!x.state_in.empty())
    require_strided_operand(op, "state_in", x.state_in, {B, H, K, K}, wide_dtype(dtype), device);
  if (!options.document_start.empty())
    require_strided_operand(op, "document_start", options.document_start, {T, B}, DType::kInt32,
                            device);
  require_decays(op, H, options);
}

/// Whether the op ends here, its work counted: `passes` times what the chunked forward pass multiplies.
bool lightning_counted(std::string_view op, double passes, const LightningForward& x,
                       Stream& stream) {
  const auto K = static_cast<double>(x.q.dim(3));
  const double flops = passes * static_cast<double>(x.q.size()) * (4 * K + 2.0 * kLightningChunk);
  return only_counted(op, KernelWork::Kind::kAttention, flops, {x.q, x.k, x.v, x.q}, stream) &&
         !counts_temporaries(x.q.dtype);
}

constexpr double kBackwardPasses = 2.5;

void require_state(std::string_view op, std::string_view name, const TensorView& state,
                   const TensorView& q) {
  if (state.empty()) return;
  require_strided_operand(op, name, state, {q.dim(1), q.dim(2), q.dim(3), q.dim(3)},
                          wide_dtype(q.dtype), q.device);
}

/// The part of all chunks and query heads on which the state before the sequence shows.
double share_seeing_start(const TensorView& q, const LightningOptions& options) {
  const std::int64_t chunks = (q.dim(0) + kLightningChunk - 1) / kLightningChunk;
  std::int64_t seeing = 0;
  for (const double slope : options.slopes) seeing += chunks_seeing_start(q.dim(0), slope, q.dtype);
  const std::int64_t all = std::max<std::int64_t>(chunks * q.dim(2), 1);
  return static_cast<double>(seeing) / static_cast<double>(all);
}

void require_forward(std::string_view op, const TensorView& o, const LightningForward& x,
                     const LightningOptions& options) {
  require_inputs(op, x, options);
  require_strided_operand(op, "o", o, x.q.shape, x.q.dtype, x.q.device);
}

void require_backward(std::string_view op, const LightningGradients& gradients,
                      const TensorView& d_o, const LightningForward& x,
                      const LightningOptions& options) {
  require_inputs(op, x, options);
  require_strided_operand(op, "do", d_o, x.q.shape, x.q.dtype, x.q.device);
  require_strided_operand(op, "dq", gradients.dq, x.q.shape, x.q.dtype, x.q.device);
  require_strided_operand(op, "dk", gradients.dk, x.k.shape, x.q.dtype, x.q.device);
  require_strided_operand(op, "dv", gradients.dv, x.k.shape, x.q.dtype, x.q.device);
  require_state(op, "dstate_in", gradients.dstate_in, x.q);
}

}  // namespace

std::vector<double> slopes(int heads) {
  HALO_REQUIRE(heads > 0, str("slopes of ", heads, " heads"));
  const auto power = static_cast<int>(std::bit_floor(static_cast<unsigned>(heads)));
  std::vector<double> all;
  for (int h = 1; h <= power; ++h) all.push_back(std::exp2(-8.0 * h / power));
  if (power < heads) {  // the rest: every other slope of twice as many heads
    const std::vector<double> finer = slopes(2 * power);
    for (std::size_t i = 0; std::ssize(all) < heads; i += 2) all.push_back(finer[i]);
  }
  return all;
}

void lightning_attention(TensorView o, TensorView state_out, TensorView q, TensorView k,
                         TensorView v, TensorView state_in, const LightningOptions& options,
                         Stream& stream) {
  constexpr const char* kOp = "lightning_attention";
  require_forward(kOp, o, {q, k, v, state_in}, options);
  require_state(kOp, "state_out", state_out, q);
  if (lightning_counted(kOp, 1, {q, k, v, state_in}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::lightning_attention(o, state_out, q, k, v, state_in, options, stream),
                 cuda::lightning_attention(o, state_out, q, k, v, state_in, options, stream));
}

void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream) {
  constexpr const char* kOp = "lightning_attention_backward";
  require_backward(kOp, gradients, d_o, forward, options);
  require_state(kOp, "dstate_out", dstate_out, forward.q);
  if (lightning_counted(kOp, kBackwardPasses, forward, stream)) return;
  HALO_ON_DEVICE(
      stream,
      cpu::lightning_attention_backward(gradients, d_o, dstate_out, forward, options, stream),
      cuda::lightning_attention_backward(gradients, d_o, dstate_out, forward, options, stream));
}

void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream) {
  constexpr const char* kOp = "lightning_carry_state";
  HALO_REQUIRE(out.rank() == 4, str(kOp, ": out is ", to_string(out.shape), ", not (B, H, K, K)"));
  require_operand(kOp, "out", out, out.shape, out.dtype, out.device);
  require_operand(kOp, "in", in, out.shape, out.dtype, out.device);
  require_operand(kOp, "own", own, out.shape, out.dtype, out.device);
  require_operand(kOp, "kept", kept, {out.dim(0), out.dim(1)}, out.dtype, out.device);
  if (only_counted(kOp, {out, in, own}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::lightning_carry_state(out, in, own, kept, stream),
                 cuda::lightning_carry_state(out, in, own, kept, stream));
}

void lightning_attention_begin(TensorView o, TensorView state_out, TensorView q, TensorView k,
                               TensorView v, const LightningOptions& options, Stream& stream) {
  constexpr const char* kOp = "lightning_attention_begin";
  const LightningForward x{q, k, v, {}};
  require_forward(kOp, o, x, options);
  require_state(kOp, "state_out", state_out, q);
  if (lightning_counted(kOp, 1 - share_seeing_start(q, options), x, stream)) return;
  HALO_ON_DEVICE(stream, cpu::lightning_attention_begin(o, state_out, q, k, v, options, stream),
                 cuda::lightning_attention_begin(o, state_out, q, k, v, options, stream));
}

void lightning_attention_finish(TensorView o, TensorView q, TensorView k, TensorView v,
                                TensorView state_in, const LightningOptions& options,
                                Stream& stream) {
  constexpr const char* kOp = "lightning_attention_finish";
  const LightningForward x{q, k, v, state_in};
  require_forward(kOp, o, x, options);
  if (lightning_counted(kOp, share_seeing_start(q, options), x, stream)) return;
  HALO_ON_DEVICE(stream, cpu::lightning_attention_finish(o, q, k, v, state_in, options, stream),
                 cuda::lightning_attention_finish(o, q, k, v, state_in, options, stream));
}

void lightning_attention_backward_begin(const LightningGradients& gradients, TensorView waiting,
                                        TensorView d_o, const LightningForward& forward,
                                        const LightningOptions& options, Stream& stream) {
  constexpr const char* kOp = "lightning_attention_backward_begin";
  require_backward(kOp, gradients, d_o, forward, options);
  HALO_REQUIRE(!waiting.empty(), str(kOp, ": nowhere to keep the state"));
  require_state(kOp, "waiting", waiting, forward.q);
  const double share = share_seeing_start(forward.q, options);  // as many enter the end
  if (lightning_counted(kOp, kBackwardPasses * (1 - share), forward, stream)) return;
  HALO_ON_DEVICE(
      stream,
      cpu::lightning_attention_backward_begin(gradients, waiting, d_o, forward, options, stream),
      cuda::lightning_attention_backward_begin(gradients, waiting, d_o, forward, options, stream));
}

void lightning_attention_backward_finish(const LightningGradients& gradients, TensorView waiting,
                                         TensorView d_o, TensorView dstate_out,
                                         const LightningForward& forward,
                                         const LightningOptions& options, Stream& stream) {
  constexpr const char* kOp = "lightning_attention_backward_finish";
  require_backward(kOp, gradients, d_o, forward, options);
  require_state(kOp, "dstate_out", dstate_out, forward.q);
  require_state(kOp, "waiting", waiting, forward.q);
  const double share = share_seeing_start(forward.q, options);
  if (lightning_counted(kOp, kBackwardPasses * share, forward, stream)) return;
  HALO_ON_DEVICE(stream,
                 cpu::lightning_attention_backward_finish(gradients, waiting, d_o, dstate_out,
                                                          forward, options, stream),
                 cuda::lightning_attention_backward_finish(gradients, waiting, d_o, dstate_out,
                                                           forward, options, stream));
}

}  // namespace halo::kernels
