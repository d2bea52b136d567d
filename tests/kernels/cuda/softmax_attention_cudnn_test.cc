#include "kernels/cuda/softmax_attention_cudnn.h"

#include <cuda_runtime_api.h>

#include <functional>

#include "core/base/cuda/check.h"
#include "tests/kernels/cuda/softmax_attention_fixture.h"

namespace halo::kernels {
namespace {

constexpr DType kBFloat16 = DType::kBFloat16;

/// What the front doors leave to cuDNN, and how.
class SoftmaxAttentionCudnnTest : public SoftmaxAttentionCudaTest {
 protected:
  void SetUp() override {
    if (!cuda::has_cudnn()) GTEST_SKIP() << "built without cuDNN";
  }
  using Attend = std::function<void(const Operands&, double, const AttentionMask&)>;
  void attend(const Operands& at, double scale, const AttentionMask& mask) override {
    attend_(at, scale, mask);
  }
  void attend_by_front_doors(const Operands& at, double scale, const AttentionMask& mask) {
    SoftmaxAttentionCudaTest::attend(at, scale, mask);
  }
  /// Any length, also those that the front doors leave to the project's own kernels.
  void attend_by_cudnn(const Operands& at, double scale, const AttentionMask& mask,
                       SumOrder order) {
    const auto& [q, k, v, o, lse] = at.forward;
    const cuda::CudnnAttention x{
        q, k, v, o, lse, mask.query_offset < k.dim(0) - 1, static_cast<float>(scale)};
    ASSERT_TRUE(cuda::cudnn_attend(x, gpu_));
    ASSERT_TRUE(cuda::cudnn_differentiate(at.gradients, at.d_o, x, order, gpu_));
  }
  void attend_in_parts(const Operands& at, double scale, const AttentionMask& mask,
                       std::int64_t bytes) {
    ASSERT_TRUE(cuda::softmax_attention_by_cudnn(at.forward, scale, mask, gpu_));
    ASSERT_TRUE(cuda::softmax_attention_backward_by_cudnn(at.gradients, at.d_o, at.forward, scale,
                                                          mask, SumOrder::kFixed, gpu_, bytes));
  }
  /// Dense operands with values.
  struct Memory {
    Tensor q, k, v, o, lse, d_o, dq, dk, dv;
    [[nodiscard]] Operands operands() const { return {{q, k, v, o, lse}, {dq, dk, dv}, d_o}; }
  };
  [[nodiscard]] Memory memory(const Dims& d, const Inputs& x, DType dtype) {
    return {up(x.q, d.queries(), dtype),
            up(x.k, d.keys(), dtype),
            up(x.v, d.keys(), dtype),
            poisoned(d.queries(), dtype),
            poisoned(d.rows(), DType::kFloat32),
            up(x.d_o, d.queries(), dtype),
            poisoned(d.queries(), dtype),
            poisoned(d.keys(), dtype),
            poisoned(d.keys(), dtype)};
  }
  [[nodiscard]] bool takes(const Dims& d, DType dtype = kBFloat16, double scale = 0.125,
                           FirstKeys first_key = {}) {
    const Inputs x = inputs(d, dtype);
    const Memory m = memory(d, x, dtype);
    const Operands at = m.operands();
    Tensor first;
    if (!first_key.empty()) first = up(first_key, {d.T, d.B});
    const bool forward = cuda::softmax_attention_by_cudnn(at.forward, scale, mask(d, first), gpu_);
    for (const SumOrder order : {SumOrder::kFixed, SumOrder::kAny})
      EXPECT_EQ(cuda::softmax_attention_backward_by_cudnn(at.gradients, at.d_o, at.forward, scale,
                                                          mask(d, first), order, gpu_),
                forward)
          << d.name();
    return forward;
  }

  Attend attend_ = [this](const auto&... all) { attend_by_front_doors(all...); };
};

TEST_F(SoftmaxAttentionCudnnTest, TakesWhatTrainingAndPromptsHave) {
  EXPECT_TRUE(takes({512, 2, 16, 8, 128}));
  EXPECT_TRUE(takes({128, 1, 4, 4, 64}));
  EXPECT_TRUE(takes({128, 1, 4, 1, 64, 256}));         // after a cache
  EXPECT_TRUE(takes({128, 1, 4, 1, 64, 1000, -872}));  // 256 keys, all seen
}

TEST_F(SoftmaxAttentionCudnnTest, LeavesTheRestToOwnKernels) {
  EXPECT_FALSE(takes({128, 1, 2, 1, 64}, DType::kFloat32));
  EXPECT_FALSE(takes({128, 1, 2, 1, 64}, kBFloat16, -0.125));
  EXPECT_FALSE(takes({128, 1, 2, 1, 64}, kBFloat16, 0.125, FirstKeys(128, 0)));
  EXPECT_FALSE(takes({128, 1, 2, 1, 60}));     // rows that are not aligned
  EXPECT_FALSE(takes({1, 1, 2, 1, 64, 255}));  // lengths that come once
  EXPECT_FALSE(takes({128, 1, 2, 1, 64, 100}));
  EXPECT_FALSE(takes({128, 1, 2, 1, 64, 64, 64}));  // keys that nobody sees
  EXPECT_FALSE(takes({128, 1, 2, 1, 64, 0, -64}));  // fewer keys than queries
}

TEST_F(SoftmaxAttentionCudnnTest, MatchesTheCpuAtOddSizes) {
  for (const SumOrder order : {SumOrder::kFixed, SumOrder::kAny}) {
    attend_ = [&](const Operands& at, double scale, const AttentionMask& mask) {
      attend_by_cudnn(at, scale, mask, order);
    };
    for (const std::int64_t T : {63, 65, 131, 300})
      for (const std::int64_t K : {64, 128, 80}) expect_as_cpu({T, 1, 2, 1, K}, kBFloat16);
    for (const Dims& d :
         {Dims{131, 2, 1, 1, 64}, Dims{131, 1, 6, 3, 128}, Dims{131, 2, 4, 1, 64},
          Dims{65, 2, 4, 2, 128, 70}, Dims{1, 2, 4, 2, 64, 299}, Dims{40, 2, 2, 2, 64, 1000, -990}})
      expect_as_cpu(d, kBFloat16);
  }
}

// One batch element, one group of heads and a tile of queries at a time, and what lies between.
TEST_F(SoftmaxAttentionCudnnTest, PartsMatchTheCpuAndRepeat) {
  for (const Dims& d : {Dims{320, 3, 4, 2, 64}, Dims{192, 1, 4, 2, 128, 192},
                        Dims{320, 2, 2, 1, 64, 1000, -1000}}) {
    for (const std::int64_t bytes : {2'400'000, 1'200'000, 600'000, 200'000, 1}) {
      SCOPED_TRACE(bytes);
      attend_ = [&](const Operands& at, double scale, const AttentionMask& mask) {
        attend_in_parts(at, scale, mask, bytes);
      };
      expect_as_cpu(d, kBFloat16);
      const Inputs x = inputs(d, kBFloat16);
      const Results first = on_gpu(d, x, kBFloat16);
      for (int i = 0; i < 3; ++i) expect_same_bits(on_gpu(d, x, kBFloat16), first);
    }
  }
}

TEST_F(SoftmaxAttentionCudnnTest, StridedViewsGiveTheSameBits) {
  const Dims d{128, 2, 4, 2, 64};
  const std::int64_t heads = d.H + 2 * d.G;
  const Inputs x = inputs(d, kBFloat16);
  const Results expected = on_gpu(d, x, kBFloat16);
  const Memory dense = memory(d, x, kBFloat16);
  for (const std::int64_t skipped : {0, 8}) {
    SCOPED_TRACE(skipped);
    const Shape all{d.T, d.B, heads, d.K + skipped};
    const Tensor fused = poisoned(all, kBFloat16), fused_gradient = poisoned(all, kBFloat16),
                 wide = poisoned({d.T, d.B, 2 * d.H, d.K + skipped}, kBFloat16),
                 wide_lse = poisoned({d.T, d.B, 2 * d.H}, DType::kFloat32);
    const auto part = [&](const TensorView& whole, std::int64_t first, std::int64_t n) {
      return whole.slice(2, first, first + n).slice(3, skipped, skipped + d.K);
    };
    const Operands at{{part(fused, 0, d.H), part(fused, d.H, d.G), part(fused, d.H + d.G, d.G),
                       part(wide, 0, d.H), wide_lse.view().slice(2, d.H, 2 * d.H)},
                      {part(fused_gradient, 0, d.H), part(fused_gradient, d.H, d.G),
                       part(fused_gradient, d.H + d.G, d.G)},
                      part(wide, d.H, d.H)};
    copy(at.forward.q, dense.q, gpu_);
    copy(at.forward.k, dense.k, gpu_);
    copy(at.forward.v, dense.v, gpu_);
    copy(at.d_o, dense.d_o, gpu_);
    ASSERT_TRUE(cuda::softmax_attention_by_cudnn(at.forward, x.scale, mask(d, {}), gpu_));
    expect_same_bits(run(d, x, at), expected);
  }
}

TEST_F(SoftmaxAttentionCudnnTest, LargeLogitsStayFinite) {
  const Dims d{128, 1, 1, 1, 64};
  Inputs x = inputs(d, kBFloat16);
  x.scale = 1e4;
  const Results y = on_gpu(d, x, kBFloat16);
  for (const Floats* values : {&y.o, &y.lse, &y.dq, &y.dk, &y.dv})
    for (const float value : *values) ASSERT_TRUE(std::isfinite(value));
}

TEST_F(SoftmaxAttentionCudnnTest, NaNInAQueryIsSeenInItsOutputAlone) {
  const Dims d{128, 1, 1, 1, 64};
  Inputs x = inputs(d, kBFloat16);
  x.q[20 * 64 + 3] = std::nanf("");
  const Results y = on_gpu(d, x, kBFloat16);
  for (std::size_t t = 0; t < 128; ++t) EXPECT_EQ(std::isnan(y.o[t * 64]), t == 20) << t;
}

TEST_F(SoftmaxAttentionCudnnTest, LaterCallsCanBeCaptured) {
  const Dims d{128, 2, 4, 2, 64};
  const Inputs x = inputs(d, kBFloat16);
  const Results expected = on_gpu(d, x, kBFloat16);
  const Memory m = memory(d, x, kBFloat16);
  const auto stream = static_cast<cudaStream_t>(gpu_.queue().native());
  gpu_.synchronize();
  HALO_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  attend(m.operands(), x.scale, mask(d, {}));
  cudaGraph_t graph = nullptr;
  HALO_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t executable = nullptr;
  HALO_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  HALO_CUDA_CHECK(cudaGraphLaunch(executable, stream));
  HALO_CUDA_CHECK(cudaStreamSynchronize(stream));
  expect_same_bits(results(m.operands()), expected);
  HALO_CUDA_CHECK(cudaGraphExecDestroy(executable));
  HALO_CUDA_CHECK(cudaGraphDestroy(graph));
}

}  // namespace
}  // namespace halo::kernels
