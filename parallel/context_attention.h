#pragma once
#include "core/base/stream.h"
#include "kernels/softmax_attention.h"
#include "parallel/comm/communicator.h"
#include "parallel/sequence_cut.h"

namespace halo::parallel {

/// How softmax attention reaches the keys of other ranks: passed around a ring while the ones at hand are worked on, or
/// all gathered at once, which takes the memory of all keys and needs one softmax.
enum class ContextAttentionMethod : std::uint8_t { kRing, kAllGather };

/// What the ranks agree on for one call.
struct ContextAttentionCall {
  ContextAttentionMethod method = ContextAttentionMethod::kRing;
  double scale = 1.0;
  TensorView
      first_key;  // (T_loc, B) int32, in tokens of the whole sequence: document masks; or empty
};

/// Causal softmax attention over a sequence that is cut among `ranks`; collective. With one rank it is the kernel.
///
/// Shapes   as kernels::softmax_attention with this rank's T_loc tokens of the cut, dense.
/// Numerics partial results are joined in the wide dtype in a fixed order: one cut and method give the same bits.
/// Source   Liu, Zaharia, Abbeel 2023 (Ring Attention); Brandon et al. 2023 (striped and zigzag cuts).
void context_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       const ContextAttentionCall& call, const SequenceCut& cut,
                       comm::Communicator& ranks, Stream& stream);

/// Writes dq, dk, dv; `forward` holds what the forward pass had and gave.
void context_attention_backward(const kernels::AttentionGradients& gradients, TensorView d_o,
                                const kernels::AttentionForward& forward,
                                const ContextAttentionCall& call, const SequenceCut& cut,
                                comm::Communicator& ranks, Stream& stream);

}  // namespace halo::parallel
