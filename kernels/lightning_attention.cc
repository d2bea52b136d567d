#include "kernels/lightning_attention.h"

#include <bit>
#include <cmath>

#include "kernels/checks.h"

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
  constexpr double kChunk = 64;  // tokens of it see each other, the others a state
  const auto K = static_cast<double>(x.q.dim(3));
  const double flops = passes * static_cast<double>(x.q.size()) * (4 * K + 2 * kChunk);
  return only_counted(op, KernelWork::Kind::kAttention, flops, {x.q, x.k, x.v, x.q}, stream) &&
         !counts_temporaries(x.q.dtype);
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
  require_inputs(kOp, {q, k, v, state_in}, options);
  require_strided_operand(kOp, "o", o, q.shape, q.dtype, q.device);
  if (!state_out.empty())
    require_strided_operand(kOp, "state_out", state_out, {q.dim(1), q.dim(2), q.dim(3), q.dim(3)},
                            wide_dtype(q.dtype), q.device);
  if (lightning_counted(kOp, 1, {q, k, v, state_in}, stream)) return;
  cpu::lightning_attention(o, state_out, q, k, v, state_in, options, stream);
}

void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream) {
  constexpr const char* kOp = "lightning_attention_backward";
  require_inputs(kOp, forward, options);
  const TensorView& q = forward.q;
  const Shape state = {q.dim(1), q.dim(2), q.dim(3), q.dim(3)};
  require_strided_operand(kOp, "do", d_o, q.shape, q.dtype, q.device);
  require_strided_operand(kOp, "dq", gradients.dq, q.shape, q.dtype, q.device);
  require_strided_operand(kOp, "dk", gradients.dk, forward.k.shape, q.dtype, q.device);
  require_strided_operand(kOp, "dv", gradients.dv, forward.k.shape, q.dtype, q.device);
  if (!dstate_out.empty())
    require_strided_operand(kOp, "dstate_out", dstate_out, state, wide_dtype(q.dtype), q.device);
  if (!gradients.dstate_in.empty())
    require_strided_operand(kOp, "dstate_in", gradients.dstate_in, state, wide_dtype(q.dtype),
                            q.device);
  if (lightning_counted(kOp, 2.5, forward, stream)) return;
  cpu::lightning_attention_backward(gradients, d_o, dstate_out, forward, options, stream);
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
  cpu::lightning_carry_state(out, in, own, kept, stream);
}

void lightning_add_state(TensorView o, TensorView q, TensorView state,
                         const LightningOptions& options, Stream& stream) {
  constexpr const char* kOp = "lightning_add_state";
  require_inputs(kOp, {q, q, q, state}, options);
  require_strided_operand(kOp, "o", o, q.shape, q.dtype, q.device);
  HALO_REQUIRE(!state.empty(), str(kOp, ": no state"));
  if (only_counted(kOp, {o, o, q, state}, stream) && !counts_temporaries(q.dtype)) return;
  cpu::lightning_add_state(o, q, state, options, stream);
}

void lightning_add_state_gradient(TensorView dk, TensorView dv, TensorView k, TensorView v,
                                  TensorView dstate, const LightningOptions& options,
                                  Stream& stream) {
  constexpr const char* kOp = "lightning_add_state_gradient";
  HALO_REQUIRE(dstate.rank() == 4 && k.rank() == 4,
               str(kOp, ": dstate is ", to_string(dstate.shape), ", k ", to_string(k.shape)));
  const std::int64_t T = k.dim(0), B = k.dim(1), H = dstate.dim(1), G = k.dim(2), K = k.dim(3);
  HALO_REQUIRE(G > 0 && H % G == 0, str(kOp, ": ", H, " states over ", G, " key heads"));
  require_strided_operand(kOp, "k", k, k.shape, k.dtype, k.device);
  require_strided_operand(kOp, "v", v, k.shape, k.dtype, k.device);
  require_strided_operand(kOp, "dk", dk, k.shape, k.dtype, k.device);
  require_strided_operand(kOp, "dv", dv, k.shape, k.dtype, k.device);
  require_strided_operand(kOp, "dstate", dstate, {B, H, K, K}, wide_dtype(k.dtype), k.device);
  require_decays(kOp, H, options);
  if (!options.document_start.empty())
    require_strided_operand(kOp, "document_start", options.document_start, {T, B}, DType::kInt32,
                            k.device);
  if (only_counted(kOp, {dk, dk, dv, dv, k, v, dstate}, stream) && !counts_temporaries(k.dtype))
    return;
  cpu::lightning_add_state_gradient(dk, dv, k, v, dstate, options, stream);
}

}  // namespace halo::kernels
