#pragma once
#include <algorithm>
#include <utility>

#include "kernels/softmax_attention.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {

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
inline FirstKeys documents(const Dims& d) {
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
  /// Both passes on the GPU, by the front doors where a test does not say otherwise.
  virtual void attend(const Operands& at, double scale, const AttentionMask& mask) {
    const auto& [q, k, v, o, lse] = at.forward;
    softmax_attention(o, lse, q, k, v, scale, mask, gpu_);
    softmax_attention_backward(at.gradients, at.d_o, at.forward, scale, mask, gpu_);
  }
  Results run(const Dims& d, const Inputs& x, const Operands& at) {
    Tensor first_key;
    if (!x.first_key.empty()) first_key = up(x.first_key, {d.T, d.B});
    attend(at, x.scale, mask(d, first_key));
    return results(at);
  }
  Results results(const Operands& at) {
    return {down(at.forward.o), down(at.forward.lse), down(at.gradients.dq), down(at.gradients.dk),
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
  /// and at small sizes the largest gradient is little more than one term. cuDNN rounds dk and dv of each query head
  /// before it sums a group's.
  void expect_as_cpu(const Dims& d, DType dtype, FirstKeys first_key = {}) {
    SCOPED_TRACE(str(d.name(), first_key.empty() ? "" : " documents", " of ", dtype_name(dtype)));
    const Inputs x = inputs(d, dtype, std::move(first_key));
    Results expected = on_cpu(d, x);
    const Results actual = on_gpu(d, x, dtype);
    const bool narrow = dtype == DType::kBFloat16;
    const double values = narrow ? 1.0 / 128 : 1e-5, logits = narrow ? 1.0 / 64 : 1e-5;
    const double heads = narrow && d.H > d.G ? 1.0 / 256 : 0;
    if (d.S() == 1) {  // one key: its probability is 1, and the CPU's gradients are roundings of 0
      expected.dq.assign(expected.dq.size(), 0);
      expected.dk.assign(expected.dk.size(), 0);
    }
    expect_near(actual.o, expected.o, values, "o");
    expect_near(actual.dv, expected.dv, values + heads, "dv");
    expect_near(actual.dq, expected.dq, logits, "dq");
    expect_near(actual.dk, expected.dk, logits + heads, "dk");
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

}  // namespace halo::kernels
