#pragma once
#include <vector>

#include "core/base/tensor.h"
#include "parallel/context_attention.h"

namespace halo::parallel {

/// One call of ring attention on one rank. In step n the rank works on the keys of rank (r - n) mod P while those of the
/// next step arrive. In the backward pass the gradients of keys and values travel with them and take one hop more, home.
class RingAttention {
 public:
  RingAttention(const ContextAttentionCall& call, const SequenceCut& cut, comm::Communicator& ranks,
                Stream& stream)
      : call_(call), cut_(cut), ranks_(ranks), stream_(stream), own_(cut.of_rank(ranks.rank())) {}

  void forward(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v);
  void backward(const kernels::AttentionGradients& gradients, TensorView d_o,
                const kernels::AttentionForward& forward);

 private:
  struct Keys {
    Tensor k, v;
  };
  [[nodiscard]] int holder(int step) const;
  [[nodiscard]] comm::Work pass_on(const std::vector<TensorView>& out,
                                   const std::vector<TensorView>& in) const;
  /// The mask between a fragment of queries and one of keys, or nothing when no key is seen.
  struct Mask {
    bool sees_any = false;
    kernels::AttentionMask mask;
    Tensor first_key;  // what mask.first_key views
  };
  [[nodiscard]] Mask mask(const Fragment& queries, const Fragment& keys) const;

  ContextAttentionCall call_;
  const SequenceCut& cut_;
  comm::Communicator& ranks_;
  Stream& stream_;
  std::vector<Fragment> own_;
};

}  // namespace halo::parallel
