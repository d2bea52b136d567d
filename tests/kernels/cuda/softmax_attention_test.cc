#include "kernels/softmax_attention.h"

#include <utility>

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

struct Dims {
  std::int64_t T, B, H, G, K;
  std::int64_t offset = 0;  // keys before the first query
  std::int64_t extra = 0;   // keys past the last query, or fewer
  [[nodiscard]] std::int64_t S() const { return std::max<std::int64_t>(T + offset + extra, 0); }
  [[nodiscard]] Shape queries() const { return {T, B, H, K}; }
  [[nodiscard]] Shape keys() const { return {S(), B, G, K}; }
  [[nodiscard]] Shape rows() const { return {T, B, H}; }
  [[nodiscard]] std::string name() const {
    return str("T ", T, " S ", S(), " B ", B, " H ", H, " G ", G, " K ", K, " offset ", offset);
  }
};
using Floats = std::vector<float>;
using FirstKeys = std::vector<std::int32_t>;

struct Inputs {
  Floats q, k, v, d_o;
  FirstKeys first_key;  // empty: no document mask
  double scale;
};
struct Results {
  Floats o, lse, dq, dk, dv;
};
/// Where a call on the GPU reads and writes.
struct Operands {
  AttentionForward forward;
  AttentionGradients gradients;
  TensorView d_o;
};

/// Documents of a length that no tile has, and in each third query none of the keys or all of them.
FirstKeys documents(const Dims& d) {
  FirstKeys first;
  for (std::int64_t t = 0; t < d.T; ++t) {
    for (std::int64_t b = 0; b < d.B; ++b) {
      const std::int64_t at = t + d.offset, start = at / 47 * 47 + b;
      first.push_back(static_cast<std::int32_t>(t % 9 == 4 ? at + 1 : t % 9 == 7 ? -3 : start));
    }
  }
  return first;
}

class SoftmaxAttentionCudaTest : public OnGpu {
 protected:
  static Inputs inputs(const Dims& d, DType dtype, FirstKeys first_key = {}) {
    const std::int64_t queries = d.queries().elements(), keys = d.keys().elements();
    return {random(queries, "q", dtype), random(keys, "k", dtype),
            random(keys, "v", dtype),    random(queries, "do", dtype),
            std::move(first_key),        1 / std::sqrt(static_cast<double>(d.K))};
  }
  static AttentionMask mask(const Dims& d, const TensorView& first_key) {
    return {.query_offset = d.offset, .first_key = first_key};
  }
  Results on_cpu(const Dims& d, const Inputs& x) {
    const auto nan = std::numeric_limits<float>::quiet_NaN();
    Results y{Floats(x.q.size(), nan), Floats(index(d.rows().elements()), nan),
              Floats(x.q.size(), nan), Floats(x.k.size(), nan), Floats(x.k.size(), nan)};
    const AttentionForward forward{view(x.q.data(), d.queries()), view(x.k.data(), d.keys()),
                                   view(x.v.data(), d.keys()), view(y.o.data(), d.queries()),
                                   view(y.lse.data(), d.rows())};
    TensorView first_key;
    if (!x.first_key.empty()) first_key = view(x.first_key.data(), {d.T, d.B});
    softmax_attention(forward.o, forward.lse, forward.q, forward.k, forward.v, x.scale,
                      mask(d, first_key), cpu_);
    softmax_attention_backward(
        {view(y.dq.data(), d.queries()), view(y.dk.data(), d.keys()), view(y.dv.data(), d.keys())},
        view(x.d_o.data(), d.queries()), forward, x.scale, mask(d, first_key), cpu_);
    return y;
  }
  Results run(const Dims& d, const Inputs& x, const Operands& at) {
    Tensor first_key;
    if (!x.first_key.empty()) first_key = up(x.first_key, {d.T, d.B});
    const auto& [q, k, v, o, lse] = at.forward;
    softmax_attention(o, lse, q, k, v, x.scale, mask(d, first_key), gpu_);
    softmax_attention_backward(at.gradients, at.d_o, at.forward, x.scale, mask(d, first_key), gpu_);
    return {down(o), down(lse), down(at.gradients.dq), down(at.gradients.dk),
            down(at.gradients.dv)};
  }
  /// From and to dense tensors.
  Results on_gpu(const Dims& d, const Inputs& x, DType dtype) {
    const Tensor q = up(x.q, d.queries(), dtype), k = up(x.k, d.keys(), dtype),
                 v = up(x.v, d.keys(), dtype), d_o = up(x.d_o, d.queries(), dtype),
                 o = poisoned(d.queries(), dtype), lse = poisoned(d.rows(), DType::kFloat32),
                 dq = poisoned(d.queries(), dtype), dk = poisoned(d.keys(), dtype),
                 dv = poisoned(d.keys(), dtype);
    return run(d, x, {{q, k, v, o, lse}, {dq, dk, dv}, d_o});
  }
  /// float32: sums of at most some hundred terms in another order, and 2^x to 2 units in the last place.
  /// bfloat16, whose roundings are of 2^-8: o and dv sum probabilities that were rounded and are rounded themselves. dq
  /// and dk sum logits' gradients that were rounded, hold o's rounding (in do * o) and are rounded: half as much again,
  /// and at small sizes the largest gradient is little more than one term.
  void expect_as_cpu(const Dims& d, DType dtype, FirstKeys first_key = {}) {
    SCOPED_TRACE(str(d.name(), first_key.empty() ? "" : " documents", " of ", dtype_name(dtype)));
    const Inputs x = inputs(d, dtype, std::move(first_key));
    Results expected = on_cpu(d, x);
    const Results actual = on_gpu(d, x, dtype);
    const bool narrow = dtype == DType::kBFloat16;
    const double values = narrow ? 1.0 / 128 : 1e-5, logits = narrow ? 1.0 / 64 : 1e-5;
    if (d.S() == 1) {  // one key: its probability is 1, and the CPU's gradients are roundings of 0
      expected.dq.assign(expected.dq.size(), 0);
      expected.dk.assign(expected.dk.size(), 0);
    }
    expect_near(actual.o, expected.o, values, "o");
    expect_near(actual.dv, expected.dv, values, "dv");
    expect_near(actual.dq, expected.dq, logits, "dq");
    expect_near(actual.dk, expected.dk, logits, "dk");
    ASSERT_EQ(actual.lse.size(), expected.lse.size());
    for (std::size_t i = 0; i < expected.lse.size(); ++i) {
      if (std::isinf(expected.lse[i]))
        ASSERT_EQ(actual.lse[i], expected.lse[i]) << i;
      else
        ASSERT_NEAR(actual.lse[i], expected.lse[i], 1e-5F)
            << i;  // from float32 sums in both dtypes
    }
  }
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
  static void expect_same_bits(const Results& a, const Results& b) {
    EXPECT_EQ(a.o, b.o);
    EXPECT_EQ(a.lse, b.lse);
    EXPECT_EQ(a.dq, b.dq);
    EXPECT_EQ(a.dk, b.dk);
    EXPECT_EQ(a.dv, b.dv);
  }
  static constexpr DType kDTypes[] = {DType::kFloat32, DType::kBFloat16};
};

TEST_F(SoftmaxAttentionCudaTest, MatchesTheCpuAtOddSizes) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t T : {1, 63, 65, 131, 300})
      for (const std::int64_t K : {16, 32, 64, 128, 80}) expect_as_cpu({T, 1, 2, 1, K}, dtype);
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
    expect_as_cpu({140, 1, 2, 1, 32, 30, 90}, dtype);     // keys that nobody sees
    expect_as_cpu({140, 1, 2, 1, 32, 0, -100}, dtype);    // fewer keys than queries
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
