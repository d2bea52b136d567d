#include "parallel/tensor_axis.h"

#include <vector>

namespace halo::parallel {
namespace {

std::vector<std::int64_t> equal_counts(std::int64_t each, int ranks) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(ranks), each);
}

}  // namespace

Gathered TensorAxis::gather(const TensorView& x, Stream& stream) const {
  if (size() == 1) return Gathered(x);
  Tensor all(stream, {x.dim(0) * size(), x.dim(1)}, x.dtype);
  ranks_->all_gather(all, x, equal_counts(x.size(), size())).wait();
  return Gathered(std::move(all));
}

void TensorAxis::scatter(const TensorView& y, const TensorView& sums) const {
  ranks_->reduce_scatter(y, sums, equal_counts(y.size(), size()), comm::ReduceOp::kSum).wait();
}

}  // namespace halo::parallel
