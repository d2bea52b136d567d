#include "kernels/cuda/cudnn_attention.h"

#include "core/base/tensor.h"

// The one source that knows cuDNN's front end, whose headers take a minute to compile.
#if HALO_CUDNN_ENABLED
#include <cuda_runtime_api.h>
#include <cudnn_frontend.h>
#include <glog/logging.h>

#include <bit>
#include <initializer_list>
#include <map>
#include <unordered_map>
#include <vector>

#include "core/base/unique_handle.h"

#define HALO_CUDNN_CHECK(call)                                                 \
  do {                                                                         \
    if (const cudnnStatus_t status_ = (call); status_ != CUDNN_STATUS_SUCCESS) \
      ::halo::fail(__FILE__, __LINE__, #call, cudnnGetErrorString(status_));   \
  } while (false)

namespace halo::kernels::cuda {
namespace {

namespace graph = cudnn_frontend::graph;
using Attributes = graph::Tensor_attributes;
using TensorPointer = std::shared_ptr<Attributes>;
using Pointers = std::unordered_map<std::int64_t, void*>;
using Key = std::vector<std::int64_t>;

/// Names of a graph's tensors.
enum Operand : std::int64_t { kQ = 1, kK, kV, kO, kLse, kDO, kDQ, kDK, kDV };

struct CudnnTraits {
  using Raw = cudnnHandle_t;
  static constexpr Raw kNull = nullptr;
  static void close(Raw handle) noexcept { static_cast<void>(cudnnDestroy(handle)); }
};

struct Plan {
  std::shared_ptr<graph::Graph> graph;  // null: cuDNN does not take the shape
  std::int64_t workspace = 0;           // bytes
};

/// The axes (T, B, H, ...) in cuDNN's order (B, H, T, ...).
template <class Axis>
std::vector<std::int64_t> reordered(Axis&& axis, std::int64_t last) {
  return {axis(1), axis(2), axis(0), last};
}
std::vector<std::int64_t> dims_of(const TensorView& x) {
  return reordered([&](int i) { return x.dim(i); }, x.rank() == 4 ? x.dim(3) : 1);
}
std::vector<std::int64_t> strides_of(const TensorView& x) {
  // An axis of one element may have any stride, but an odd one looks as if rows of K were not aligned.
  const bool rows = x.rank() == 4;
  return reordered([&](int i) { return rows && x.dim(i) == 1 ? x.dim(3) : x.stride(i); }, 1);
}

TensorPointer input(graph::Graph& g, Operand name, const TensorView& x) {
  Attributes attributes;
  attributes.set_uid(name).set_dim(dims_of(x)).set_stride(strides_of(x));
  if (x.dtype == DType::kFloat32) attributes.set_data_type(cudnn_frontend::DataType_t::FLOAT);
  return g.tensor(attributes);
}
void output(const TensorPointer& tensor, Operand name, const TensorView& x) {
  tensor->set_output(true).set_uid(name).set_dim(dims_of(x)).set_stride(strides_of(x));
  if (x.dtype == DType::kFloat32) tensor->set_data_type(cudnn_frontend::DataType_t::FLOAT);
}

/// Of SDPA_attributes or SDPA_backward_attributes.
template <class Options>
Options options(const CudnnAttention& x) {
  Options made;
  made.set_attn_scale(x.scale);
  if (!x.causal) return made;
  const bool square = x.q.dim(0) == x.k.dim(0);
  made.set_diagonal_alignment(square ? cudnn_frontend::DiagonalAlignment_t::TOP_LEFT
                                     : cudnn_frontend::DiagonalAlignment_t::BOTTOM_RIGHT);
  made.set_diagonal_band_right_bound(0);
  return made;
}

std::shared_ptr<graph::Graph> empty_graph() {
  auto g = std::make_shared<graph::Graph>();
  g->set_io_data_type(cudnn_frontend::DataType_t::BFLOAT16)
      .set_intermediate_data_type(cudnn_frontend::DataType_t::FLOAT)
      .set_compute_data_type(cudnn_frontend::DataType_t::FLOAT);
  return g;
}

/// What one stream keeps for its attention.
class AttentionPlans {
 public:
  explicit AttentionPlans(Stream& stream) {
    cudnnHandle_t handle = nullptr;
    HALO_CUDNN_CHECK(cudnnCreate(&handle));
    handle_ = UniqueHandle<CudnnTraits>(handle);
    HALO_CUDNN_CHECK(cudnnSetStream(handle, static_cast<cudaStream_t>(stream.queue().native())));
  }

  [[nodiscard]] bool attend(const CudnnAttention& x, Stream& stream) {
    const Plan& plan = planned(key_of(0, x, {x.q, x.k, x.v, x.o, x.lse}), "forward", x, [&] {
      auto g = empty_graph();
      auto attributes = options<graph::SDPA_attributes>(x).set_generate_stats(true);
      const auto [o, lse] =
          g->sdpa(input(*g, kQ, x.q), input(*g, kK, x.k), input(*g, kV, x.v), attributes);
      output(o, kO, x.o);
      output(lse, kLse, x.lse);
      return g;
    });
    return run(plan,
               {{kQ, x.q.data}, {kK, x.k.data}, {kV, x.v.data}, {kO, x.o.data}, {kLse, x.lse.data}},
               stream);
  }

  [[nodiscard]] bool differentiate(const AttentionGradients& to, const TensorView& d_o,
                                   const CudnnAttention& x, SumOrder order, Stream& stream) {
    const bool fixed = order == SumOrder::kFixed;
    const Key key = key_of(fixed ? 1 : 2, x, {x.q, x.k, x.v, x.o, x.lse, d_o, to.dq, to.dk, to.dv});
    const Plan& plan = planned(key, "backward", x, [&] {
      auto g = empty_graph();
      auto attributes =
          options<graph::SDPA_backward_attributes>(x).set_deterministic_algorithm(fixed);
      const auto [dq, dk, dv] = g->sdpa_backward(
          input(*g, kQ, x.q), input(*g, kK, x.k), input(*g, kV, x.v), input(*g, kO, x.o),
          input(*g, kDO, d_o), input(*g, kLse, x.lse), attributes);
      output(dq, kDQ, to.dq);
      output(dk, kDK, to.dk);
      output(dv, kDV, to.dv);
      return g;
    });
    return run(plan,
               {{kQ, x.q.data},
                {kK, x.k.data},
                {kV, x.v.data},
                {kO, x.o.data},
                {kLse, x.lse.data},
                {kDO, d_o.data},
                {kDQ, to.dq.data},
                {kDK, to.dk.data},
                {kDV, to.dv.data}},
               stream);
  }

 private:
  [[nodiscard]] static Key key_of(std::int64_t pass, const CudnnAttention& x,
                                  std::initializer_list<TensorView> operands) {
    Key key{pass, x.causal, std::bit_cast<std::int32_t>(x.scale)};
    for (const TensorView& operand : operands) {
      const auto dims = dims_of(operand), strides = strides_of(operand);
      key.insert(key.end(), dims.begin(), dims.end());
      key.insert(key.end(), strides.begin(), strides.end());
    }
    return key;
  }

  template <class Make>
  [[nodiscard]] const Plan& planned(const Key& key, const char* pass, const CudnnAttention& x,
                                    Make&& make) {
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    Plan plan{make()};
    auto status = plan.graph->build(handle_.get(), {cudnn_frontend::HeurMode_t::A});
    if (status.is_good()) status = plan.graph->get_workspace_size(plan.workspace);
    if (status.is_bad()) {
      LOG(WARNING) << "cuDNN " << cudnnGetVersion() << " does not take softmax attention's " << pass
                   << " pass of q " << to_string(x.q.shape) << " and k " << to_string(x.k.shape)
                   << ", which the project's own kernels compute: " << status.get_message();
      plan = {};
    }
    return plans_.emplace(key, std::move(plan)).first->second;
  }

  [[nodiscard]] bool run(const Plan& plan, Pointers pointers, Stream& stream) {
    if (plan.graph == nullptr) return false;
    const Tensor workspace(stream, {plan.workspace}, DType::kUint8);
    auto status = plan.graph->execute(handle_.get(), pointers, workspace.view().data);
    HALO_REQUIRE(status.is_good(), str("cuDNN's attention: ", status.get_message()));
    return true;
  }

  UniqueHandle<CudnnTraits> handle_;
  std::map<Key, Plan> plans_;
};

AttentionPlans& plans_of(Stream& stream) {
  return stream.queue().kept<AttentionPlans>(
      [&] { return std::make_shared<AttentionPlans>(stream); });
}

}  // namespace

bool has_cudnn() { return true; }

bool cudnn_attend(const CudnnAttention& x, Stream& stream) {
  return plans_of(stream).attend(x, stream);
}

bool cudnn_differentiate(const AttentionGradients& gradients, TensorView d_o,
                         const CudnnAttention& x, SumOrder order, Stream& stream) {
  // The backward pass reads lse as (B, H, T) alone.
  const Tensor lse = Tensor::copy_of(stream, x.lse.transposed(0, 1).transposed(1, 2));
  CudnnAttention call = x;
  call.lse = lse.view().transposed(1, 2).transposed(0, 1);
  return plans_of(stream).differentiate(gradients, d_o, call, order, stream);
}

}  // namespace halo::kernels::cuda

#else

namespace halo::kernels::cuda {

bool has_cudnn() { return false; }
bool cudnn_attend(const CudnnAttention&, Stream&) { return false; }
bool cudnn_differentiate(const AttentionGradients&, TensorView, const CudnnAttention&, SumOrder,
                         Stream&) {
  return false;
}

}  // namespace halo::kernels::cuda
#endif
