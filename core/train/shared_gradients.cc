#include "core/train/shared_gradients.h"

namespace halo::train {
namespace {

constexpr std::int64_t kMaxElements = std::int64_t{8} << 20;  // of one sum

/// A flat copy of whole tensors, zero where this rank holds nothing, that is summed over the tensor axis.
class SharedSum {
 public:
  SharedSum(comm::Communicator& ranks, Stream& stream) : ranks_(ranks), stream_(stream) {}

  void add(const model::Parameter& p) {
    const std::int64_t n = p.global_shape.elements();
    if (elements_ > 0 && elements_ + n > kMaxElements) run();
    parameters_.push_back(&p);
    elements_ += n;
  }

  void run() {
    if (parameters_.empty()) return;
    const Tensor sums = Tensor::zeros(stream_, {elements_}, parameters_.front()->grad.dtype);
    each(sums, [&](const TensorView& in_sums, const TensorView& gradient) {
      copy(in_sums, gradient, stream_);
    });
    ranks_.all_reduce(sums, comm::ReduceOp::kSum).wait();
    each(sums, [&](const TensorView& in_sums, const TensorView& gradient) {
      copy(gradient, in_sums, stream_);
    });
    parameters_.clear();
    elements_ = 0;
  }

 private:
  template <class Body>
  void each(const Tensor& sums, Body&& body) {
    std::int64_t begin = 0;
    for (const model::Parameter* p : parameters_) {
      const std::int64_t end = begin + p->global_shape.elements();
      TensorView whole = sums.view().slice(0, begin, end).reshape(p->global_shape);
      for (int axis = 0; axis < whole.rank(); ++axis)
        whole = whole.slice(axis, p->region.offset[axis],
                            p->region.offset[axis] + p->region.shape[axis]);
      body(whole, p->grad);
      begin = end;
    }
  }

  comm::Communicator& ranks_;
  Stream& stream_;
  std::vector<const model::Parameter*> parameters_;
  std::int64_t elements_ = 0;
};

}  // namespace

void sum_shared_gradients(const std::vector<const model::Parameter*>& parameters,
                          const parallel::DeviceMesh& mesh, Stream& stream) {
  if (mesh.degree(parallel::Axis::kTensor) > 1) {
    SharedSum sum(mesh.comm(parallel::Axis::kTensor), stream);
    for (const model::Parameter* p : parameters)
      if (p->shared) sum.add(*p);
    sum.run();
  }
  if (mesh.ends_comm().size() == 1) return;
  for (const model::Parameter* p : parameters)
    if (p->at_both_ends) mesh.ends_comm().all_reduce(p->grad, comm::ReduceOp::kSum).wait();
}

}  // namespace halo::train
