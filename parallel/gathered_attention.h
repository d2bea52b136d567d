#pragma once
#include <vector>

#include "core/base/tensor.h"
#include "parallel/context_attention.h"

namespace halo::parallel {

/// One call of softmax attention over keys that every rank gathers whole, in the order of the sequence.
class GatheredAttention {
 public:
  GatheredAttention(const ContextAttentionCall& call, const SequenceCut& cut,
                    comm::Communicator& ranks, Stream& stream)
      : call_(call), cut_(cut), ranks_(ranks), stream_(stream), own_(cut.of_rank(ranks.rank())) {}

  void forward(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v);
  void backward(const kernels::AttentionGradients& gradients, TensorView d_o,
                const kernels::AttentionForward& forward);

 private:
  struct Keys {
    Tensor k, v;  // (T, B, G, K)
  };
  [[nodiscard]] Keys gather(const TensorView& k, const TensorView& v) const;
  /// Every rank's sum of `sums` (T, B, G, K) for the tokens that it holds.
  void reduce_scatter(TensorView own, const Tensor& sums) const;
  [[nodiscard]] kernels::AttentionMask mask(const Fragment& queries) const;

  ContextAttentionCall call_;
  const SequenceCut& cut_;
  comm::Communicator& ranks_;
  Stream& stream_;
  std::vector<Fragment> own_;
};

}  // namespace halo::parallel
