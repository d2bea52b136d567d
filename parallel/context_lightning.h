#pragma once
#include <vector>

#include "core/base/stream.h"
#include "kernels/lightning_attention.h"
#include "parallel/comm/communicator.h"
#include "parallel/sequence_cut.h"
#include "parallel/state_exchange.h"

namespace halo::parallel {

/// What the ranks agree on for one call.
struct ContextLightningCall {
  ContextStateMethod method = ContextStateMethod::kRing;
  std::vector<double> slopes;  // one a query head
  double scale = 1.0;
  TensorView document_start;  // (T_loc, B) int32, in tokens of the whole sequence; or empty
};

/// Lightning attention over a sequence that is cut among `ranks`; collective. Heads go in groups, whose states travel from
/// fragment to fragment while other groups are worked on: most with the state that has arrived meanwhile, the last ones
/// before it has, but for the chunks on which it shows. With one rank it is the kernel.
///
/// Shapes   q, o (T_loc, B, H, K); k, v (T_loc, B, G, K), this rank's tokens of the cut; incoming (fragments of this rank,
///          B, H, K, K) wide receives the state before each, which the backward pass needs, or is empty; it is not
///          written where no other rank's state enters.
/// Numerics states and their sums in the wide dtype, in a fixed order.
///          Bits depend on the cut, on the way of the states and on how many heads there are, not on time or threads.
/// Source   recipe: S_t = lambda S_(t-1) + k^T v is linear in the incoming state; Qin et al. 2024 (Lightning
///          Attention-2), Blelloch 1990 (scans).
void context_lightning(TensorView o, TensorView incoming, TensorView q, TensorView k, TensorView v,
                       const ContextLightningCall& call, const SequenceCut& cut,
                       comm::Communicator& ranks, Stream& stream);

struct ContextLightningForward {
  TensorView q, k, v, incoming;
};
struct ContextLightningGradients {
  TensorView dq, dk, dv;
};
void context_lightning_backward(const ContextLightningGradients& gradients, TensorView d_o,
                                const ContextLightningForward& forward,
                                const ContextLightningCall& call, const SequenceCut& cut,
                                comm::Communicator& ranks, Stream& stream);

}  // namespace halo::parallel
