#include "kernels/softmax_attention.h"

#include <cmath>

#include "core/base/tensor.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

struct Dims {
  std::int64_t T, S, B, H, G, K;
  std::int64_t offset = 0;
};
std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Inputs and outputs of one call in one dtype, outputs poisoned.
template <class T>
struct SoftmaxProblem {
  Dims d;
  double scale;
  std::vector<T> q, k, v, d_o, o, lse, dq, dk, dv;
  std::vector<std::int32_t> first_key;  // empty: no document mask

  explicit SoftmaxProblem(const Dims& dims)
      : d(dims),
        scale(1 / std::sqrt(static_cast<double>(d.K))),
        q(random_values<T>(d.T * d.B * d.H * d.K, "q")),
        k(random_values<T>(d.S * d.B * d.G * d.K, "k")),
        v(random_values<T>(d.S * d.B * d.G * d.K, "v")),
        d_o(random_values<T>(d.T * d.B * d.H * d.K, "do")),
        o(poisoned<T>(std::ssize(q))),
        lse(poisoned<T>(d.T * d.B * d.H)),
        dq(poisoned<T>(std::ssize(q))),
        dk(poisoned<T>(std::ssize(k))),
        dv(poisoned<T>(std::ssize(k))) {}

  TensorView queries(std::vector<T>& x) const { return view(x.data(), {d.T, d.B, d.H, d.K}); }
  TensorView keys(std::vector<T>& x) const { return view(x.data(), {d.S, d.B, d.G, d.K}); }
  TensorView rows() { return view(lse.data(), {d.T, d.B, d.H}); }
  AttentionMask mask() {
    AttentionMask m{.query_offset = d.offset, .first_key = {}};
    if (!first_key.empty()) m.first_key = view(first_key.data(), {d.T, d.B});
    return m;
  }
  void forward(Stream& stream) {
    softmax_attention(queries(o), rows(), queries(q), keys(k), keys(v), scale, mask(), stream);
  }
  void backward(Stream& stream) {
    softmax_attention_backward({queries(dq), keys(dk), keys(dv)}, queries(d_o),
                               {queries(q), keys(k), keys(v), queries(o), rows()}, scale, mask(),
                               stream);
  }
  [[nodiscard]] std::pair<std::int64_t, std::int64_t> visible(std::int64_t t,
                                                              std::int64_t b) const {
    const std::int64_t first = first_key.empty() ? 0 : first_key[index(t * d.B + b)];
    return {std::max<std::int64_t>(first, 0), std::min(t + d.offset + 1, d.S)};
  }
};

/// The formulas in float64, one row of T x S probabilities at a time.
struct Reference {
  std::vector<double> o, lse, dq, dk, dv;

  template <class T>
  explicit Reference(const SoftmaxProblem<T>& x)
      : o(x.q.size(), 0.0),
        lse(x.lse.size(), -std::numeric_limits<double>::infinity()),
        dq(x.q.size(), 0.0),
        dk(x.k.size(), 0.0),
        dv(x.k.size(), 0.0) {
    for (std::int64_t t = 0; t < x.d.T; ++t)
      for (std::int64_t b = 0; b < x.d.B; ++b)
        for (std::int64_t h = 0; h < x.d.H; ++h) row(x, t, b, h);
  }

 private:
  template <class T>
  void row(const SoftmaxProblem<T>& x, std::int64_t t, std::int64_t b, std::int64_t h) {
    const auto [begin, end] = x.visible(t, b);
    if (begin >= end) return;
    const std::int64_t K = x.d.K, g = h * x.d.G / x.d.H, r = (t * x.d.B + b) * x.d.H + h;
    const auto key = [&](std::int64_t s, std::int64_t i) {
      return index(((s * x.d.B + b) * x.d.G + g) * K + i);
    };
    const auto dot = [&](const std::vector<T>& query, const std::vector<T>& other, std::int64_t s) {
      double sum = 0;
      for (std::int64_t i = 0; i < K; ++i)
        sum += static_cast<double>(query[index(r * K + i)]) * static_cast<double>(other[key(s, i)]);
      return sum;
    };
    std::vector<double> p(index(end));
    double total = 0;
    for (std::int64_t s = begin; s < end; ++s)
      total += p[index(s)] = std::exp(x.scale * dot(x.q, x.k, s));  // logits are small here
    lse[index(r)] = std::log(total);
    double mean = 0;  // of dp under p
    for (std::int64_t s = begin; s < end; ++s) {
      p[index(s)] /= total;
      mean += p[index(s)] * dot(x.d_o, x.v, s);
    }
    for (std::int64_t s = begin; s < end; ++s) {
      const double ds = x.scale * p[index(s)] * (dot(x.d_o, x.v, s) - mean);
      for (std::int64_t i = 0; i < K; ++i) {
        const std::size_t at = index(r * K + i);
        o[at] += p[index(s)] * static_cast<double>(x.v[key(s, i)]);
        dv[key(s, i)] += p[index(s)] * static_cast<double>(x.d_o[at]);
        dq[at] += ds * static_cast<double>(x.k[key(s, i)]);
        dk[key(s, i)] += ds * static_cast<double>(x.q[at]);
      }
    }
  }
};

/// Sums of n terms near 1 in size, in random order of rounding, wander by sqrt(n) eps; 8 covers the products before and
/// after and the largest of the elements.
template <class T>
double bound(const Dims& d) {
  return 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) *
         std::sqrt(static_cast<double>(d.K * d.H / d.G + d.T + d.S));
}

template <class T>
void expect_matches_reference(SoftmaxProblem<T>& x, int threads) {
  SCOPED_TRACE(str("T ", x.d.T, " S ", x.d.S, " B ", x.d.B, " H ", x.d.H, " G ", x.d.G, " K ",
                   x.d.K, " offset ", x.d.offset, " of ", sizeof(T), " bytes"));
  Stream stream(threads);
  x.forward(stream);
  const Reference expected(x);
  const double tolerance = bound<T>(x.d);
  expect_close("o", x.o, expected.o, tolerance);
  for (std::size_t i = 0; i < x.lse.size(); ++i) {
    if (std::isinf(expected.lse[i]))
      ASSERT_EQ(static_cast<double>(x.lse[i]), expected.lse[i]) << i;
    else
      ASSERT_NEAR(static_cast<double>(x.lse[i]), expected.lse[i], tolerance) << i;
  }
  x.backward(stream);
  expect_close("dq", x.dq, expected.dq, tolerance);
  expect_close("dk", x.dk, expected.dk, tolerance);
  expect_close("dv", x.dv, expected.dv, tolerance);
}

TEST(SoftmaxAttentionTest, MatchesThePlainFormulaAtOddSizes) {
  const std::vector<Dims> cases = {
      {1, 1, 1, 1, 1, 16},         {2, 2, 3, 2, 1, 24},
      {63, 63, 1, 3, 1, 32},       {65, 65, 3, 4, 4, 16},
      {131, 131, 1, 4, 2, 64},     {300, 300, 1, 2, 1, 24},  // past one block of keys
      {1, 300, 3, 4, 1, 64, 299},                            // one token after a cache
      {5, 40, 1, 3, 3, 16, 35},    {40, 70, 1, 2, 1, 16, 30},
      {40, 50, 2, 2, 2, 16, 1000},  // every query sees every key
      {40, 10, 1, 2, 1, 16, 0},     // fewer keys than queries
  };
  for (const Dims& dims : cases) {
    SoftmaxProblem<double> wide(dims);
    expect_matches_reference(wide, 2);
    SoftmaxProblem<float> narrow(dims);
    expect_matches_reference(narrow, 2);
  }
}

TEST(SoftmaxAttentionTest, CutsTheKeysOfFewLongHeadsIntoPieces) {
  SoftmaxProblem<double> x({2100, 2100, 1, 1, 1, 16});
  expect_matches_reference(x, 2);
}

TEST(SoftmaxAttentionTest, ManyHeadsMayShareOneKeyHead) {
  SoftmaxProblem<double> x({70, 70, 1, 48, 1, 16});
  expect_matches_reference(x, 2);
}

TEST(SoftmaxAttentionTest, GradientsAreTheDerivatives) {
  for (const bool documents : {false, true}) {
    SoftmaxProblem<double> x({19, 23, 2, 4, 2, 8, 4});
    if (documents) {
      for (std::int32_t t = 0; t < 19; ++t) {
        x.first_key.push_back(t < 7 ? 0 : 11);
        x.first_key.push_back(t < 3 ? 2 : t + 4);
      }
    }
    Stream stream(2);
    const auto loss = [&] {
      x.forward(stream);
      return weighted_sum(x.o, x.d_o);
    };
    loss();
    x.backward(stream);
    expect_gradient("q", x.q, x.dq, loss);
    expect_gradient("k", x.k, x.dk, loss);
    expect_gradient("v", x.v, x.dv, loss);
  }
}

TEST(SoftmaxAttentionTest, ReadsAndWritesStridedViews) {
  // q, k, v as slices of one row of projections, o inside a wider tensor.
  constexpr std::int64_t T = 70, B = 2, H = 4, G = 2, K = 16, kRow = (H + 2 * G) * K;
  SoftmaxProblem<double> x({T, T, B, H, G, K});
  std::vector<double> fused(T * B * kRow, 0.0), wide_o = poisoned(T * B * 2 * H * K);
  const auto part = [&](std::vector<double>& all, std::int64_t row, std::int64_t first,
                        std::int64_t heads) {
    TensorView whole = view(all.data(), {T, B, row / K, K});
    return whole.slice(2, first, first + heads);
  };
  const TensorView q = part(fused, kRow, 0, H), k = part(fused, kRow, H, G),
                   v = part(fused, kRow, H + G, G), o = part(wide_o, 2 * H * K, H, H);
  Stream stream(2);
  copy(q, x.queries(x.q), stream);
  copy(k, x.keys(x.k), stream);
  copy(v, x.keys(x.v), stream);
  softmax_attention(o, x.rows(), q, k, v, x.scale, {}, stream);
  x.forward(stream);
  std::vector<double> dense(x.o.size());
  copy(x.queries(dense), o, stream);
  EXPECT_EQ(dense, x.o);
  std::vector<double> fused_gradient = poisoned(T * B * kRow);
  softmax_attention_backward({part(fused_gradient, kRow, 0, H), part(fused_gradient, kRow, H, G),
                              part(fused_gradient, kRow, H + G, G)},
                             x.queries(x.d_o), {q, k, v, o, x.rows()}, x.scale, {}, stream);
  x.backward(stream);
  copy(x.queries(dense), part(fused_gradient, kRow, 0, H), stream);
  EXPECT_EQ(dense, x.dq);
}

TEST(SoftmaxAttentionTest, SecondHalfAfterACacheEqualsTheWhole) {
  constexpr std::int64_t T = 131, kHalf = 60, B = 2, H = 4, G = 2, K = 24;
  SoftmaxProblem<double> whole({T, T, B, H, G, K});
  Stream stream(2);
  whole.forward(stream);
  std::vector<double> o = poisoned(std::ssize(whole.o)), lse = poisoned(std::ssize(whole.lse));
  const TensorView o_view = whole.queries(o), lse_view = view(lse.data(), {T, B, H});
  for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, kHalf}, {kHalf, T}}) {
    softmax_attention(o_view.slice(0, begin, end), lse_view.slice(0, begin, end),
                      whole.queries(whole.q).slice(0, begin, end),
                      whole.keys(whole.k).slice(0, 0, end), whole.keys(whole.v).slice(0, 0, end),
                      whole.scale, {.query_offset = begin, .first_key = {}}, stream);
  }
  expect_close("o", o, whole.o, 1e-14);  // other blocks, so other roundings
  expect_close("lse", lse, whole.lse, 1e-14);
}

TEST(SoftmaxAttentionTest, DocumentsAreSeparateSequences) {
  constexpr std::int64_t T = 200, B = 1, H = 2, G = 1, K = 16;
  constexpr std::int64_t kStarts[] = {0, 1, 65, 130, T};
  SoftmaxProblem<double> packed({T, T, B, H, G, K});
  for (std::size_t i = 0; i + 1 < std::size(kStarts); ++i)
    packed.first_key.insert(packed.first_key.end(), index(kStarts[i + 1] - kStarts[i]),
                            static_cast<std::int32_t>(kStarts[i]));
  expect_matches_reference(packed, 2);
  SoftmaxProblem<double> apart({T, T, B, H, G, K});
  Stream stream(2);
  for (std::size_t i = 0; i + 1 < std::size(kStarts); ++i) {
    const auto cut = [&](const TensorView& x) { return x.slice(0, kStarts[i], kStarts[i + 1]); };
    const AttentionForward forward{cut(apart.queries(apart.q)), cut(apart.keys(apart.k)),
                                   cut(apart.keys(apart.v)), cut(apart.queries(apart.o)),
                                   cut(apart.rows())};
    softmax_attention(forward.o, forward.lse, forward.q, forward.k, forward.v, apart.scale, {},
                      stream);
    softmax_attention_backward(
        {cut(apart.queries(apart.dq)), cut(apart.keys(apart.dk)), cut(apart.keys(apart.dv))},
        cut(apart.queries(apart.d_o)), forward, apart.scale, {}, stream);
  }
  expect_close("o", packed.o, apart.o, 1e-14);
  expect_close("dq", packed.dq, apart.dq, 1e-13);
  expect_close("dk", packed.dk, apart.dk, 1e-13);
  expect_close("dv", packed.dv, apart.dv, 1e-13);
}

TEST(SoftmaxAttentionTest, AQueryThatSeesNoKeyGivesZeroAndNoGradient) {
  SoftmaxProblem<double> x({4, 4, 1, 1, 1, 16});
  x.first_key = {0, 3, 2, 0};  // query 1 would need key 3
  expect_matches_reference(x, 1);
  for (std::size_t i = 16; i < 32; ++i) {
    EXPECT_EQ(x.o[i], 0.0);
    EXPECT_EQ(x.dq[i], 0.0);
  }
  EXPECT_EQ(x.lse[1], -std::numeric_limits<double>::infinity());
  SoftmaxProblem<float> no_keys({3, 0, 2, 2, 1, 8});
  expect_matches_reference(no_keys, 1);
  SoftmaxProblem<float> no_queries({0, 3, 2, 2, 1, 8});
  expect_matches_reference(no_queries, 1);
}

TEST(SoftmaxAttentionTest, BitsDoNotDependOnTheThreads) {
  for (const Dims& dims : {Dims{200, 200, 2, 4, 2, 32}, Dims{2100, 2100, 1, 1, 1, 16}}) {
    SoftmaxProblem<float> one(dims);
    Stream single(1);
    one.forward(single);
    one.backward(single);
    for (const int threads : {2, 3, 4}) {
      SoftmaxProblem<float> more(dims);
      Stream stream(threads);
      more.forward(stream);
      more.backward(stream);
      EXPECT_EQ(more.o, one.o) << threads;
      EXPECT_EQ(more.lse, one.lse) << threads;
      EXPECT_EQ(more.dq, one.dq) << threads;
      EXPECT_EQ(more.dk, one.dk) << threads;
      EXPECT_EQ(more.dv, one.dv) << threads;
    }
  }
}

TEST(SoftmaxAttentionTest, LargeLogitsStayFinite) {
  SoftmaxProblem<float> x({40, 40, 1, 1, 1, 16});
  for (float& value : x.q) value *= 1e4f;  // logits of +-1e5: probabilities are 0 or 1
  Stream stream(1);
  x.forward(stream);
  x.backward(stream);
  for (const auto* values : {&x.o, &x.lse, &x.dq, &x.dk, &x.dv}) {
    for (const float value : *values) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(SoftmaxAttentionTest, NaNInAQueryIsSeenInItsOutput) {
  SoftmaxProblem<float> x({40, 40, 1, 1, 1, 16});
  x.q[20 * 16 + 3] = std::nanf("");
  Stream stream(1);
  x.forward(stream);
  EXPECT_TRUE(std::isnan(x.o[20 * 16]));
  EXPECT_FALSE(std::isnan(x.o[19 * 16]));
}

TEST(SoftmaxAttentionTest, RefusesWhatDoesNotFit) {
  Stream stream(1);
  SoftmaxProblem<float> x({4, 4, 1, 4, 2, 8});
  const auto run = [&](TensorView o, TensorView lse, TensorView k, TensorView v,
                       const AttentionMask& mask, double scale = 1) {
    softmax_attention(o, lse, x.queries(x.q), k, v, scale, mask, stream);
  };
  const TensorView o = x.queries(x.o), lse = x.rows(), k = x.keys(x.k), v = x.keys(x.v);
  run(o, lse, k, v, {});
  EXPECT_THROW(run(o.slice(0, 0, 3), lse, k, v, {}), Error);
  EXPECT_THROW(run(o, lse.slice(2, 0, 3), k, v, {}), Error);
  EXPECT_THROW(run(o, lse, k, v.slice(0, 0, 3), {}), Error);
  EXPECT_THROW(run(o, lse, view(x.k.data(), {4, 1, 3, 8}), view(x.v.data(), {4, 1, 3, 8}), {}),
               Error);
  EXPECT_THROW(run(o, lse, k, v, {.query_offset = -1, .first_key = {}}), Error);
  EXPECT_THROW(run(o, lse, k, v, {}, std::nan("")), Error);
  std::vector<std::int64_t> wrong(4);
  EXPECT_THROW(run(o, lse, k, v, {.query_offset = 0, .first_key = view(wrong.data(), {4, 1})}),
               Error);
  std::vector<double> wide(256);
  EXPECT_THROW(run(view(wide.data(), {4, 1, 4, 8}), lse, k, v, {}), Error);
  EXPECT_THROW(
      softmax_attention_backward({x.queries(x.dq), x.keys(x.dk), x.keys(x.dv)}, o.slice(3, 0, 4),
                                 {x.queries(x.q), k, v, o, lse}, 1, {}, stream),
      Error);
}

}  // namespace
}  // namespace halo::kernels
