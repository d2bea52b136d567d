#pragma once
#include "core/base/tensor.h"
#include "kernels/gates.h"
#include "parallel/comm/communicator.h"

namespace halo::parallel {

/// Tokens of all ranks together: one's own memory, or with one rank a view of what was given.
class Gathered {
 public:
  explicit Gathered(const TensorView& view) : view_(view) {}
  explicit Gathered(Tensor tensor) : tensor_(std::move(tensor)), view_(tensor_) {}
  operator const TensorView&() const { return view_; }  // NOLINT: used as its view everywhere
  [[nodiscard]] const TensorView& view() const { return view_; }

 private:
  Tensor tensor_;
  TensorView view_;
};

/// The tensor axis as the layers see it. Between their products activations are cut along the tokens, each rank holding
/// an equal run of rows; around them all ranks see all rows and hold a part of the channels.
/// Source: Shoeybi et al. 2019, Korthikanti et al. 2022 (Megatron-LM, tensor and sequence parallelism).
class TensorAxis {
 public:
  explicit TensorAxis(comm::Communicator& ranks) : ranks_(&ranks) {}

  [[nodiscard]] int rank() const { return ranks_->rank(); }
  [[nodiscard]] int size() const { return ranks_->size(); }

  /// (N, D) of every rank's x (N / P, D), in rank order. Its backward pass is reduce_scatter.
  [[nodiscard]] Gathered gather(const TensorView& x, Stream& stream) const;
  /// y (N / P, D) = this rank's rows of the sum over the ranks of what product(out (N, D)) writes. Its backward pass is
  /// gather.
  template <class Product>
  void reduce_scatter(const TensorView& y, Product&& product, Stream& stream) const {
    if (size() == 1) {
      product(y);
      return;
    }
    const Tensor sums(stream, {y.dim(0) * size(), y.dim(1)}, y.dtype);
    product(sums.view());
    scatter(y, sums);
  }
  /// The same added to `addend` (N / P, D), which may be y: product(out, addend) writes its result, added to addend unless
  /// that is empty.
  template <class Product>
  void add_reduce_scatter(const TensorView& y, const TensorView& addend, Product&& product,
                          Stream& stream) const {
    if (size() == 1) {
      product(y, addend);
      return;
    }
    if (addend.empty())
      return reduce_scatter(
          y, [&](const TensorView& out) { product(out, TensorView{}); }, stream);
    const Tensor sum(stream, y.shape, y.dtype);
    reduce_scatter(
        sum, [&](const TensorView& out) { product(out, TensorView{}); }, stream);
    kernels::add(y, addend, sum, stream);
  }
  /// The sum over the ranks, in place.
  void all_reduce(const TensorView& x, comm::ReduceOp op) const {
    if (size() > 1) ranks_->all_reduce(x, op).wait();
  }

 private:
  void scatter(const TensorView& y, const TensorView& sums) const;
  comm::Communicator* ranks_;
};

}  // namespace halo::parallel
