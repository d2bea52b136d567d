#include "tests/kernels/cuda/softmax_attention_fixture.h"

namespace halo::kernels {
namespace {

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuAtOddSizes) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t T : {1, 63, 65, 131, 300})
      for (const std::int64_t K : {16, 32, 64, 128, 80}) expect_as_cpu({T, 1, 2, 1, K}, dtype);
  }
}

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuAtCommonLengths) {
  for (const DType dtype : kDTypes) {
    for (const Dims& d :
         {Dims{64, 1, 1, 1, 128}, Dims{128, 3, 4, 2, 128}, Dims{320, 2, 6, 2, 64},
          Dims{192, 1, 4, 1, 80}, Dims{64, 2, 4, 2, 64, 192}, Dims{128, 1, 2, 1, 128, 576}}) {
      expect_as_cpu(d, dtype);
      expect_as_cpu(d, dtype, FirstKeys(index(d.T * d.B), 0));  // no document hides a key
    }
  }
}

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuWithGroupedHeads) {
  constexpr std::pair<int, int> kHeads[] = {{1, 1}, {4, 2}, {6, 3}, {4, 1}};
  for (const DType dtype : kDTypes) {
    for (const auto& [H, G] : kHeads)
      for (const std::int64_t B : {1, 2}) expect_as_cpu({131, B, H, G, 64}, dtype);
  }
}

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuAfterACache) {
  for (const DType dtype : kDTypes) {
    expect_as_cpu({1, 2, 4, 2, 64, 299}, dtype);
    expect_as_cpu({65, 1, 2, 1, 128, 70}, dtype);
    expect_as_cpu({40, 2, 2, 2, 16, 1000, -990}, dtype);  // every query sees every key
    expect_as_cpu({64, 2, 4, 2, 64, 1000, -936}, dtype);
    expect_as_cpu({140, 1, 2, 1, 32, 30, 90}, dtype);   // keys that nobody sees
    expect_as_cpu({140, 1, 2, 1, 32, 0, -100}, dtype);  // fewer keys than queries
  }
}

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuWithDocuments) {
  for (const DType dtype : kDTypes) {
    for (const Dims& d : {Dims{300, 2, 4, 2, 64}, Dims{300, 1, 2, 1, 128},
                          Dims{131, 2, 2, 1, 80, 75}, Dims{65, 1, 1, 1, 32, 0, 30}})
      expect_as_cpu(d, dtype, documents(d));
  }
}

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuWithUncommonChannels) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t K : {1, 13, 24, 100, 256}) expect_as_cpu({90, 2, 2, 1, K}, dtype);
  }
  const Dims wide{4, 1, 1, 1, 257};
  EXPECT_THROW(on_gpu(wide, inputs(wide, DType::kFloat32), DType::kFloat32), Error);
}

TEST_F(SoftmaxAttentionCudaTest, NoKeysGiveZerosAndNoQueriesNoGradient) {
  for (const DType dtype : kDTypes) {
    expect_as_cpu({3, 2, 2, 1, 16, 0, -3}, dtype);
    expect_as_cpu({0, 2, 2, 1, 16, 0, 5}, dtype);
    expect_as_cpu({0, 2, 2, 1, 16}, dtype);
    const Dims d{70, 1, 1, 1, 64};
    expect_as_cpu(d, dtype, FirstKeys(70, 70));  // nobody sees a key
  }
}

TEST_F(SoftmaxAttentionCudaTest, StridedViewsGiveTheSameBits) {
  const Dims d{131, 2, 4, 2, 64};
  const std::int64_t heads = d.H + 2 * d.G;
  for (const DType dtype : kDTypes) {
    const Inputs x = inputs(d, dtype, documents(d));
    const Results expected = on_gpu(d, x, dtype);
    const Tensor q = up(x.q, d.queries(), dtype), k = up(x.k, d.keys(), dtype),
                 v = up(x.v, d.keys(), dtype), d_o = up(x.d_o, d.queries(), dtype);
    for (const std::int64_t skipped :
         {0, 1}) {  // channels before a row's: 1 leaves nothing aligned
      SCOPED_TRACE(skipped);
      const Shape all{d.T, d.B, heads, d.K + skipped};
      const Tensor fused = poisoned(all, dtype), fused_gradient = poisoned(all, dtype),
                   wide = poisoned({d.T, d.B, 2 * d.H, d.K + skipped}, dtype),
                   wide_lse = poisoned({d.T, d.B, 2 * d.H}, DType::kFloat32);
      const auto part = [&](const TensorView& whole, std::int64_t first, std::int64_t n) {
        return whole.slice(2, first, first + n).slice(3, skipped, skipped + d.K);
      };
      const Operands at{{part(fused, 0, d.H), part(fused, d.H, d.G), part(fused, d.H + d.G, d.G),
                         part(wide, 0, d.H), wide_lse.view().slice(2, d.H, 2 * d.H)},
                        {part(fused_gradient, 0, d.H), part(fused_gradient, d.H, d.G),
                         part(fused_gradient, d.H + d.G, d.G)},
                        part(wide, d.H, d.H)};
      copy(at.forward.q, q, gpu_);
      copy(at.forward.k, k, gpu_);
      copy(at.forward.v, v, gpu_);
      copy(at.d_o, d_o, gpu_);
      const Results actual = run(d, x, at);
      EXPECT_EQ(actual.o, expected.o);
      EXPECT_EQ(actual.lse, expected.lse);
      if (skipped == 0) {
        expect_same_bits(actual, expected);
      } else {  // do * o is summed in another order
        const double bound = dtype == DType::kBFloat16 ? 1.0 / 128 : 1e-6;
        expect_near(actual.dq, expected.dq, bound, "dq");
        expect_near(actual.dk, expected.dk, bound, "dk");
        EXPECT_EQ(actual.dv, expected.dv);
      }
    }
  }
}

TEST_F(SoftmaxAttentionCudaTest, BitsRepeat) {
  for (const DType dtype : kDTypes) {
    for (const Dims& d : {Dims{300, 2, 4, 2, 64}, Dims{300, 1, 4, 1, 128}}) {
      const Inputs x = inputs(d, dtype, documents(d));
      const Results first = on_gpu(d, x, dtype);
      for (int i = 0; i < 3; ++i) expect_same_bits(on_gpu(d, x, dtype), first);
    }
  }
}

TEST_F(SoftmaxAttentionCudaTest, LargeLogitsStayFinite) {
  for (const DType dtype : kDTypes) {
    const Dims d{131, 1, 1, 1, 64};
    Inputs x = inputs(d, dtype);
    for (const double scale : {1e4, -1e4}) {  // probabilities are 0 or 1
      x.scale = scale;
      const Results y = on_gpu(d, x, dtype);
      for (const Floats* values : {&y.o, &y.lse, &y.dq, &y.dk, &y.dv})
        for (const float value : *values) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

TEST_F(SoftmaxAttentionCudaTest, NaNInAQueryIsSeenInItsOutputAlone) {
  for (const DType dtype : kDTypes) {
    const Dims d{40, 1, 1, 1, 32};
    Inputs x = inputs(d, dtype);
    x.q[20 * 32 + 3] = std::nanf("");
    const Results y = on_gpu(d, x, dtype);
    for (std::size_t t = 0; t < 40; ++t) EXPECT_EQ(std::isnan(y.o[t * 32]), t == 20) << t;
  }
}

TEST_F(SoftmaxAttentionCudaTest, MergesAsTheCpu) {
  const auto infinity = std::numeric_limits<float>::infinity();
  for (const DType dtype : kDTypes) {
    for (const std::int64_t K : {1, 13, 16, 64, 80, 128, 256}) {
      SCOPED_TRACE(str("K ", K, " of ", dtype_name(dtype)));
      const Shape shape{37, 2, 3, K}, rows{37, 2, 3};
      Floats o = random(shape.elements(), "o", dtype), lse = random(222, "lse", DType::kFloat32);
      Floats part = random(shape.elements(), "part", dtype),
             part_lse = random(222, "part_lse", DType::kFloat32);
      for (std::size_t i = 0; i < 222; i += 5) lse[i] = -infinity;
      for (std::size_t i = 0; i < 222; i += 7) part_lse[i] = -infinity;  // 0, 35, ...: neither
      const Tensor wide = poisoned({37, 2, 6, K}, dtype), gpu_lse = up(lse, rows),
                   gpu_part = up(part, shape, dtype), gpu_part_lse = up(part_lse, rows);
      const TensorView gpu_o = wide.view().slice(2, 3, 6);
      copy(gpu_o, up(o, shape, dtype), gpu_);
      merge_attention(gpu_o, gpu_lse, gpu_part, gpu_part_lse, gpu_);
      merge_attention(view(o.data(), shape), view(lse.data(), rows), view(part.data(), shape),
                      view(part_lse.data(), rows), cpu_);
      // One rounding of the result (2^-8), or a few of float32.
      expect_near(down(gpu_o), o, dtype == DType::kBFloat16 ? 1.0 / 256 : 1e-6, "o");
      const Floats merged = down(gpu_lse);
      for (std::size_t i = 0; i < 222; ++i) {
        if (std::isinf(lse[i]))
          ASSERT_EQ(merged[i], lse[i]) << i;
        else
          ASSERT_NEAR(merged[i], lse[i], 2e-6F) << i;
      }
    }
  }
}

}  // namespace
}  // namespace halo::kernels
