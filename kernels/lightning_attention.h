#pragma once
#include <vector>

#include "core/base/stream.h"

namespace halo::kernels {

/// ALiBi's slopes 2^(-8h/H), h = 1..H, with the usual fallback when H is no power of two. The decay of head h is
/// e^(-slope). Source: Press et al. 2021; oracle `slopes`.
[[nodiscard]] std::vector<double> slopes(int heads);

struct LightningOptions {
  std::vector<double> slopes;  // one a query head, >= 0
  double scale = 1.0;          // K^-1/2
  /// (T, B) int32: index of the first token of each token's document, or empty. The state is reset at
  /// t = document_start[t, b]; a value < 0 continues the incoming state.
  TensorView document_start;
};

/// Linear attention with a constant decay a head, in chunks:
///   S_t = e^(-slope_h) S_{t-1} + k_t^T v_t,   o_t = scale * q_t S_t  (the current token is undecayed).
///
/// Shapes   q, o (T, B, H, K); k, v (T, B, G, K), G divides H, head h reads h * G / H; state_in, state_out (B, H, K, K)
///          wide: S before the first and after the last token, axes (key, value). state_in may be empty (zero) and
///          state_out may be empty (not wanted). Dense in K; outer axes may be strided. T >= 0.
/// Numerics the state and every decay in float32 (float64 in FP64); only decays e^(-slope (i-j)) with i >= j appear.
///          A GPU in bfloat16 rounds what it multiplies: inputs times decays, the state (not the one that is carried on) and
///          the products q k^T. There, what is not a number spreads to all tokens of its chunk of 64, of whatever
///          documents; beyond, only to those that see it.
/// Aliasing outputs overlap no input.
/// Throws   Error when shapes, dtypes or devices disagree; on a GPU for more than 128 heads. The CPU refuses a
///          document_start that is none; a GPU, which doesn't read it before its kernels, trusts it.
/// Source   Qin et al. 2024 (Lightning Attention-2); oracle `lightning_scan`.
void lightning_attention(TensorView o, TensorView state_out, TensorView q, TensorView k,
                         TensorView v, TensorView state_in, const LightningOptions& options,
                         Stream& stream);

struct LightningGradients {
  TensorView dq, dk, dv;  // as q, k, v; written
  TensorView dstate_in;   // (B, H, K, K), written; may be empty
};
struct LightningForward {
  TensorView q, k, v, state_in;  // state_in may be empty
};
/// The gradients, from do (as o) and dstate_out (the gradient of state_out; empty for zero). Chunk states are computed
/// again. Bits do not depend on the number of threads.
void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream);

/// out = kept * in + own, a factor for each batch element and head: a state on its way through a run of tokens.
/// Shapes out, in, own (B, H, K, K), kept (B, H), all wide and dense; out may be in or own.
void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream);

// A sequence that is split among ranks: each begins before it knows the state that enters its part, and finishes once that
// has arrived. What waits are the chunks on which it still shows (kernels/lightning_waiting.h).

/// Without state_in: o of the chunks that do not wait, and state_out of these tokens alone.
void lightning_attention_begin(TensorView o, TensorView state_out, TensorView q, TensorView k,
                               TensorView v, const LightningOptions& options, Stream& stream);
/// With state_in (B, H, K, K; empty for zero): o of the chunks that have waited. Together the two write what
/// lightning_attention does, but for state_out.
void lightning_attention_finish(TensorView o, TensorView q, TensorView k, TensorView v,
                                TensorView state_in, const LightningOptions& options,
                                Stream& stream);
/// Without dstate_out: the gradients of the chunks that do not wait, dstate_in from these tokens alone, and in `waiting`
/// (B, H, K, K) wide the state before the first chunk that waits.
void lightning_attention_backward_begin(const LightningGradients& gradients, TensorView waiting,
                                        TensorView d_o, const LightningForward& forward,
                                        const LightningOptions& options, Stream& stream);
/// With dstate_out (B, H, K, K; empty for zero): dq, dk, dv of the chunks that have waited.
void lightning_attention_backward_finish(const LightningGradients& gradients, TensorView waiting,
                                         TensorView d_o, TensorView dstate_out,
                                         const LightningForward& forward,
                                         const LightningOptions& options, Stream& stream);

namespace cpu {
void lightning_attention(TensorView o, TensorView state_out, TensorView q, TensorView k,
                         TensorView v, TensorView state_in, const LightningOptions& options,
                         Stream& stream);
void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream);
void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream);
void lightning_attention_begin(TensorView o, TensorView state_out, TensorView q, TensorView k,
                               TensorView v, const LightningOptions& options, Stream& stream);
void lightning_attention_finish(TensorView o, TensorView q, TensorView k, TensorView v,
                                TensorView state_in, const LightningOptions& options,
                                Stream& stream);
void lightning_attention_backward_begin(const LightningGradients& gradients, TensorView waiting,
                                        TensorView d_o, const LightningForward& forward,
                                        const LightningOptions& options, Stream& stream);
void lightning_attention_backward_finish(const LightningGradients& gradients, TensorView waiting,
                                         TensorView d_o, TensorView dstate_out,
                                         const LightningForward& forward,
                                         const LightningOptions& options, Stream& stream);
}  // namespace cpu
namespace cuda {
void lightning_attention(TensorView o, TensorView state_out, TensorView q, TensorView k,
                         TensorView v, TensorView state_in, const LightningOptions& options,
                         Stream& stream);
void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream);
void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream);
void lightning_attention_begin(TensorView o, TensorView state_out, TensorView q, TensorView k,
                               TensorView v, const LightningOptions& options, Stream& stream);
void lightning_attention_finish(TensorView o, TensorView q, TensorView k, TensorView v,
                                TensorView state_in, const LightningOptions& options,
                                Stream& stream);
void lightning_attention_backward_begin(const LightningGradients& gradients, TensorView waiting,
                                        TensorView d_o, const LightningForward& forward,
                                        const LightningOptions& options, Stream& stream);
void lightning_attention_backward_finish(const LightningGradients& gradients, TensorView waiting,
                                         TensorView d_o, TensorView dstate_out,
                                         const LightningForward& forward,
                                         const LightningOptions& options, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
