#include "kernels/lightning_attention.h"

#include <cmath>

#include "core/base/tensor.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

struct Dims {
  std::int64_t T, B, H, G, K;
};
std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Inputs and outputs of one call in one dtype, outputs poisoned. States are random, so nothing starts at zero.
template <class T>
struct LightningProblem {
  Dims d;
  LightningOptions options;
  std::vector<T> q, k, v, d_o, state_in, dstate_out;
  std::vector<T> o, state_out, dq, dk, dv, dstate_in;
  std::vector<std::int32_t> starts;  // empty: no documents

  explicit LightningProblem(const Dims& dims)
      : d(dims),
        q(random_values<T>(d.T * d.B * d.H * d.K, "q")),
        k(random_values<T>(d.T * d.B * d.G * d.K, "k")),
        v(random_values<T>(d.T * d.B * d.G * d.K, "v")),
        d_o(random_values<T>(d.T * d.B * d.H * d.K, "do")),
        state_in(random_values<T>(d.B * d.H * d.K * d.K, "state_in")),
        dstate_out(random_values<T>(d.B * d.H * d.K * d.K, "dstate_out")),
        o(poisoned<T>(std::ssize(q))),
        state_out(poisoned<T>(std::ssize(state_in))),
        dq(poisoned<T>(std::ssize(q))),
        dk(poisoned<T>(std::ssize(k))),
        dv(poisoned<T>(std::ssize(v))),
        dstate_in(poisoned<T>(std::ssize(state_in))) {
    options.slopes = slopes(static_cast<int>(d.H));
    options.scale = 1 / std::sqrt(static_cast<double>(d.K));
  }
  TensorView queries(std::vector<T>& x) const { return view(x.data(), {d.T, d.B, d.H, d.K}); }
  TensorView keys(std::vector<T>& x) const { return view(x.data(), {d.T, d.B, d.G, d.K}); }
  TensorView states(std::vector<T>& x) const { return view(x.data(), {d.B, d.H, d.K, d.K}); }
  const LightningOptions& with_documents() {
    if (!starts.empty()) options.document_start = view(starts.data(), {d.T, d.B});
    return options;
  }
  void forward(Stream& stream) {
    lightning_attention(queries(o), states(state_out), queries(q), keys(k), keys(v),
                        states(state_in), with_documents(), stream);
  }
  void backward(Stream& stream) {
    lightning_attention_backward(
        {queries(dq), keys(dk), keys(dv), states(dstate_in)}, queries(d_o), states(dstate_out),
        {queries(q), keys(k), keys(v), states(state_in)}, with_documents(), stream);
  }
  [[nodiscard]] bool resets(std::int64_t t, std::int64_t b) const {
    return !starts.empty() && starts[index(t * d.B + b)] == t;
  }
};

/// The recurrence of one token after the other and its reverse, in float64.
struct Reference {
  std::vector<double> o, state_out, dq, dk, dv, dstate_in;

  template <class T>
  explicit Reference(const LightningProblem<T>& x)
      : o(x.q.size(), 0.0),
        state_out(x.state_in.size(), 0.0),
        dq(x.q.size(), 0.0),
        dk(x.k.size(), 0.0),
        dv(x.k.size(), 0.0),
        dstate_in(x.state_in.size(), 0.0) {
    for (std::int64_t b = 0; b < x.d.B; ++b)
      for (std::int64_t h = 0; h < x.d.H; ++h) head(x, b, h);
  }

 private:
  template <class T>
  void head(const LightningProblem<T>& x, std::int64_t b, std::int64_t h) {
    const std::int64_t K = x.d.K, size = K * K, first = (b * x.d.H + h) * size;
    const double lambda = std::exp(-x.options.slopes[index(h)]), s = x.options.scale;
    const auto query = [&](std::int64_t t) { return ((t * x.d.B + b) * x.d.H + h) * K; };
    const auto key = [&](std::int64_t t) {
      return ((t * x.d.B + b) * x.d.G + h * x.d.G / x.d.H) * K;
    };
    std::vector<std::vector<double>> S(index(x.d.T + 1), std::vector<double>(index(size)));
    for (std::int64_t e = 0; e < size; ++e)
      S[0][index(e)] = static_cast<double>(x.state_in[index(first + e)]);
    for (std::int64_t t = 0; t < x.d.T; ++t) {
      for (std::int64_t i = 0; i < K; ++i) {
        for (std::int64_t j = 0; j < K; ++j) {
          const std::size_t e = index(i * K + j);
          S[index(t + 1)][e] = (x.resets(t, b) ? 0.0 : lambda * S[index(t)][e]) +
                               static_cast<double>(x.k[index(key(t) + i)]) *
                                   static_cast<double>(x.v[index(key(t) + j)]);
          o[index(query(t) + j)] +=
              s * static_cast<double>(x.q[index(query(t) + i)]) * S[index(t + 1)][e];
        }
      }
    }
    std::vector<double> dS(index(size));
    for (std::int64_t e = 0; e < size; ++e) {
      state_out[index(first + e)] = S[index(x.d.T)][index(e)];
      dS[index(e)] = static_cast<double>(x.dstate_out[index(first + e)]);
    }
    for (std::int64_t t = x.d.T - 1; t >= 0; --t) {
      for (std::int64_t i = 0; i < K; ++i) {
        for (std::int64_t j = 0; j < K; ++j) {
          const std::size_t e = index(i * K + j);
          const double gradient = s * static_cast<double>(x.d_o[index(query(t) + j)]);
          dq[index(query(t) + i)] += gradient * S[index(t + 1)][e];
          dS[e] += gradient * static_cast<double>(x.q[index(query(t) + i)]);
          dk[index(key(t) + i)] += dS[e] * static_cast<double>(x.v[index(key(t) + j)]);
          dv[index(key(t) + j)] += dS[e] * static_cast<double>(x.k[index(key(t) + i)]);
          dS[e] *= x.resets(t, b) ? 0.0 : lambda;
        }
      }
    }
    for (std::int64_t e = 0; e < size; ++e) dstate_in[index(first + e)] = dS[index(e)];
  }
};

/// Sums of n terms near 1 in size wander by sqrt(n) eps; a term of dk is itself a sum over K channels of a state that
/// remembers 1 / slope tokens, 256 for the last head, T at most. 8 covers the products before and after and the largest element.
template <class T>
double bound(const Dims& d) {
  return 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) *
         std::sqrt(static_cast<double>(d.K * d.H / d.G * (1 + std::min<std::int64_t>(d.T, 256))));
}

template <class T>
void expect_matches_reference(LightningProblem<T>& x, int threads) {
  SCOPED_TRACE(str("T ", x.d.T, " B ", x.d.B, " H ", x.d.H, " G ", x.d.G, " K ", x.d.K, " of ",
                   sizeof(T), " bytes"));
  Stream stream(threads);
  x.forward(stream);
  x.backward(stream);
  const Reference expected(x);
  const double tolerance = bound<T>(x.d);
  expect_close("o", x.o, expected.o, tolerance);
  expect_close("state_out", x.state_out, expected.state_out, tolerance);
  expect_close("dq", x.dq, expected.dq, tolerance);
  expect_close("dk", x.dk, expected.dk, tolerance);
  expect_close("dv", x.dv, expected.dv, tolerance);
  expect_close("dstate_in", x.dstate_in, expected.dstate_in, tolerance);
}

TEST(LightningAttentionTest, MatchesTheRecurrenceAtOddSizes) {
  const std::vector<Dims> cases = {
      {0, 2, 2, 1, 16},   {1, 1, 1, 1, 16},  {2, 3, 2, 1, 24},
      {63, 1, 3, 1, 32},  {65, 3, 4, 4, 16}, {131, 1, 4, 2, 64},
      {200, 2, 6, 2, 24}, {600, 1, 2, 1, 16}  // few heads, many chunks
  };
  for (const Dims& dims : cases) {
    LightningProblem<double> wide(dims);
    expect_matches_reference(wide, 2);
    LightningProblem<float> narrow(dims);
    expect_matches_reference(narrow, 2);
  }
}

TEST(LightningAttentionTest, SlopesAreALiBis) {
  EXPECT_EQ(slopes(1), std::vector<double>{1.0 / 256});
  EXPECT_EQ(slopes(8), (std::vector<double>{0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125,
                                            0.00390625}));
  const std::vector<double> six = slopes(6),
                            expected = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
  EXPECT_EQ(six, expected);
  EXPECT_EQ(slopes(3), (std::vector<double>{1.0 / 16, 1.0 / 256, 1.0 / 4}));
  EXPECT_THROW(static_cast<void>(slopes(0)), Error);
}

/// Document starts of one batch element as document_start wants them.
void set_documents(std::vector<std::int32_t>& starts, const Dims& d, std::int64_t b,
                   const std::vector<std::int32_t>& at) {
  starts.resize(index(d.T * d.B), -1);
  for (std::int32_t start : at)
    for (std::int64_t t = start; t < d.T; ++t) starts[index(t * d.B + b)] = start;
}

TEST(LightningAttentionTest, ResetsTheStateAtDocuments) {
  const Dims dims{200, 4, 4, 2, 16};
  LightningProblem<double> x(dims);
  set_documents(x.starts, dims, 0, {1, 5, 63, 64, 65, 199});
  set_documents(x.starts, dims, 1, {0, 128});
  set_documents(x.starts, dims, 2, {70, 100});
  expect_matches_reference(x, 2);  // batch element 3 goes on from state_in
  LightningProblem<double> few_heads({600, 1, 2, 1, 16});
  set_documents(few_heads.starts, few_heads.d, 0, {100, 448, 500});
  expect_matches_reference(few_heads, 2);
}

TEST(LightningAttentionTest, GradientsAreTheDerivatives) {
  for (const bool documents : {false, true}) {
    LightningProblem<double> x({70, 2, 4, 2, 8});
    if (documents) {
      set_documents(x.starts, x.d, 0, {3, 40, 66});
      set_documents(x.starts, x.d, 1, {64});
    }
    Stream stream(2);
    const auto loss = [&] {
      x.forward(stream);
      return weighted_sum(x.o, x.d_o) + weighted_sum(x.state_out, x.dstate_out);
    };
    x.backward(stream);
    expect_gradient("q", x.q, x.dq, loss);
    expect_gradient("k", x.k, x.dk, loss);
    expect_gradient("v", x.v, x.dv, loss);
    expect_gradient("state_in", x.state_in, x.dstate_in, loss);
  }
}

TEST(LightningAttentionTest, TwoHalvesWithTheStateBetweenEqualTheWhole) {
  constexpr std::int64_t T = 131, kHalf = 50;
  LightningProblem<double> whole({T, 2, 4, 2, 16}), halves({T, 2, 4, 2, 16});
  Stream stream(2);
  whole.forward(stream);
  whole.backward(stream);
  LightningProblem<double>& x = halves;
  std::vector<double> between = poisoned(std::ssize(x.state_in)), dbetween = between;
  const auto cut = [&](const TensorView& v, bool second) {
    return second ? v.slice(0, kHalf, T) : v.slice(0, 0, kHalf);
  };
  for (const bool second : {false, true}) {
    lightning_attention(cut(x.queries(x.o), second), x.states(second ? x.state_out : between),
                        cut(x.queries(x.q), second), cut(x.keys(x.k), second),
                        cut(x.keys(x.v), second), x.states(second ? between : x.state_in),
                        x.options, stream);
  }
  for (const bool second : {true, false}) {
    lightning_attention_backward(
        {cut(x.queries(x.dq), second), cut(x.keys(x.dk), second), cut(x.keys(x.dv), second),
         x.states(second ? dbetween : x.dstate_in)},
        cut(x.queries(x.d_o), second), x.states(second ? x.dstate_out : dbetween),
        {cut(x.queries(x.q), second), cut(x.keys(x.k), second), cut(x.keys(x.v), second),
         x.states(second ? between : x.state_in)},
        x.options, stream);
  }
  const double tolerance = bound<double>(x.d);  // other chunks, so other roundings
  expect_close("o", x.o, whole.o, tolerance);
  expect_close("state_out", x.state_out, whole.state_out, tolerance);
  expect_close("dq", x.dq, whole.dq, tolerance);
  expect_close("dk", x.dk, whole.dk, tolerance);
  expect_close("dv", x.dv, whole.dv, tolerance);
  expect_close("dstate_in", x.dstate_in, whole.dstate_in, tolerance);
}

/// Begun before the states from outside are known and finished with them.
template <class T>
void run_in_parts(LightningProblem<T>& x, Stream& stream) {
  const LightningOptions& options = x.with_documents();
  lightning_attention_begin(x.queries(x.o), x.states(x.state_out), x.queries(x.q), x.keys(x.k),
                            x.keys(x.v), options, stream);
  lightning_attention_finish(x.queries(x.o), x.queries(x.q), x.keys(x.k), x.keys(x.v),
                             x.states(x.state_in), options, stream);
  std::vector<T> waiting = poisoned<T>(std::ssize(x.state_in));
  const LightningGradients gradients{x.queries(x.dq), x.keys(x.dk), x.keys(x.dv),
                                     x.states(x.dstate_in)};
  const LightningForward forward{x.queries(x.q), x.keys(x.k), x.keys(x.v), x.states(x.state_in)};
  lightning_attention_backward_begin(gradients, x.states(waiting), x.queries(x.d_o), forward,
                                     options, stream);
  lightning_attention_backward_finish({gradients.dq, gradients.dk, gradients.dv, {}},
                                      x.states(waiting), x.queries(x.d_o), x.states(x.dstate_out),
                                      forward, options, stream);
}

/// `parts` is `whole` but for what the states from outside give to the states at the other end.
template <class T>
void expect_parts_equal(LightningProblem<T>& parts, LightningProblem<T>& whole, double bound) {
  Stream stream(1);
  whole.forward(stream);
  whole.backward(stream);
  LightningProblem<T> alone = whole;  // what its tokens give to them
  std::ranges::fill(alone.state_in, T{0});
  alone.forward(stream);
  std::ranges::copy(whole.state_in, alone.state_in.begin());
  std::ranges::fill(alone.dstate_out, T{0});
  const auto near = [&](const std::vector<T>& a, const std::vector<T>& b, const char* name) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double difference = std::fabs(double(a[i]) - double(b[i]));
      largest = std::isfinite(difference) ? std::max(largest, difference) : INFINITY;
    }
    EXPECT_LE(largest, bound) << name;
  };
  near(parts.o, whole.o, "o");
  near(parts.state_out, alone.state_out, "state_out");
  alone.backward(stream);
  near(parts.dq, whole.dq, "dq");
  near(parts.dk, whole.dk, "dk");
  near(parts.dv, whole.dv, "dv");
  near(parts.dstate_in, alone.dstate_in, "dstate_in");
}

TEST(LightningAttentionTest, WhatWaitsForAStateIsFinishedWithIt) {
  for (const int threads : {1, 3}) {  // heads walked one by one, and chunks as items
    Stream stream(threads);
    for (const Dims& dims : {Dims{1, 1, 2, 2, 8}, Dims{63, 2, 2, 1, 16}, Dims{65, 1, 4, 2, 16},
                             Dims{1000, 1, 2, 1, 8}, Dims{1337, 1, 4, 2, 16}}) {
      for (const bool documents : {false, true}) {
        SCOPED_TRACE(testing::Message() << dims.T << " tokens, " << threads << " threads");
        LightningProblem<double> parts(dims);
        if (documents)
          for (std::int64_t i = 0; i < dims.T * dims.B; ++i)
            parts.starts.push_back(i / dims.B < dims.T / 3
                                       ? -1
                                       : static_cast<std::int32_t>(dims.T / 3));
        LightningProblem<double> whole = parts;
        run_in_parts(parts, stream);
        expect_parts_equal(parts, whole, 1e-12);
      }
    }
  }
}

TEST(LightningAttentionTest, AnEmptyStateIsAZeroStateAndNoneNeedBeWritten) {
  for (const Dims& dims : {Dims{70, 2, 4, 2, 16}, Dims{600, 1, 1, 1, 16}}) {
    LightningProblem<double> zero(dims), empty(dims);
    std::fill(zero.state_in.begin(), zero.state_in.end(), 0.0);
    std::fill(zero.dstate_out.begin(), zero.dstate_out.end(), 0.0);
    Stream stream(2);
    zero.forward(stream);
    zero.backward(stream);
    LightningProblem<double>& x = empty;
    lightning_attention(x.queries(x.o), {}, x.queries(x.q), x.keys(x.k), x.keys(x.v), {}, x.options,
                        stream);
    lightning_attention_backward({x.queries(x.dq), x.keys(x.dk), x.keys(x.dv), {}},
                                 x.queries(x.d_o), {},
                                 {x.queries(x.q), x.keys(x.k), x.keys(x.v), {}}, x.options, stream);
    EXPECT_EQ(x.o, zero.o);
    EXPECT_EQ(x.dq, zero.dq);
    EXPECT_EQ(x.dk, zero.dk);
    EXPECT_EQ(x.dv, zero.dv);
  }
}

TEST(LightningAttentionTest, ReadsAndWritesStridedViews) {
  constexpr std::int64_t T = 70, B = 2, H = 4, G = 2, K = 16, kHeads = H + 2 * G;
  LightningProblem<double> x({T, B, H, G, K});
  std::vector<double> fused(T * B * kHeads * K, 0.0), gradient = poisoned(T * B * kHeads * K);
  std::vector<double> wide_o = poisoned(T * B * 2 * H * K);
  const auto part = [&](std::vector<double>& all, std::int64_t first, std::int64_t heads) {
    return view(all.data(), {T, B, kHeads, K}).slice(2, first, first + heads);
  };
  const TensorView o = view(wide_o.data(), {T, B, 2 * H, K}).slice(2, H, 2 * H);
  Stream stream(2);
  copy(part(fused, 0, H), x.queries(x.q), stream);
  copy(part(fused, H, G), x.keys(x.k), stream);
  copy(part(fused, H + G, G), x.keys(x.v), stream);
  const LightningForward forward{part(fused, 0, H), part(fused, H, G), part(fused, H + G, G),
                                 x.states(x.state_in)};
  x.forward(stream);
  x.backward(stream);
  const std::vector<double> o_dense = x.o, dq = x.dq, dv = x.dv;
  lightning_attention(o, {}, forward.q, forward.k, forward.v, forward.state_in, x.options, stream);
  lightning_attention_backward(
      {part(gradient, 0, H), part(gradient, H, G), part(gradient, H + G, G), {}}, x.queries(x.d_o),
      x.states(x.dstate_out), forward, x.options, stream);
  copy(x.queries(x.o), o, stream);
  copy(x.queries(x.dq), part(gradient, 0, H), stream);
  copy(x.keys(x.dv), part(gradient, H + G, G), stream);
  // The library may take another path for other strides.
  expect_close("o", x.o, o_dense, 1e-14);
  expect_close("dq", x.dq, dq, 1e-14);
  expect_close("dv", x.dv, dv, 1e-14);
}

TEST(LightningAttentionTest, BitsDoNotDependOnTheThreads) {
  for (const Dims& dims : {Dims{200, 2, 4, 2, 32}, Dims{600, 1, 2, 1, 16}}) {
    LightningProblem<float> one(dims);
    Stream single(1);
    one.forward(single);
    one.backward(single);
    for (const int threads : {2, 3, 4}) {
      LightningProblem<float> more(dims);
      Stream stream(threads);
      more.forward(stream);
      more.backward(stream);
      EXPECT_EQ(more.o, one.o) << threads;
      EXPECT_EQ(more.state_out, one.state_out) << threads;
      EXPECT_EQ(more.dq, one.dq) << threads;
      EXPECT_EQ(more.dk, one.dk) << threads;
      EXPECT_EQ(more.dv, one.dv) << threads;
      EXPECT_EQ(more.dstate_in, one.dstate_in) << threads;
    }
  }
}

TEST(LightningAttentionTest, SteepSlopesUnderflowToZeroAndNeverOverflow) {
  LightningProblem<float> x({200, 1, 1, 1, 16});
  for (const double slope : {0.0, 1.0, 50.0}) {  // e^(50 * 64) is past any float
    x.options.slopes = {slope};
    expect_matches_reference(x, 1);
  }
}

TEST(LightningAttentionTest, RefusesWhatDoesNotFit) {
  Stream stream(1);
  LightningProblem<float> x({4, 1, 4, 2, 8});
  const auto run = [&](TensorView o, TensorView k, TensorView state_in) {
    lightning_attention(o, x.states(x.state_out), x.queries(x.q), k, x.keys(x.v), state_in,
                        x.with_documents(), stream);
  };
  const TensorView o = x.queries(x.o), k = x.keys(x.k), state = x.states(x.state_in);
  run(o, k, state);
  EXPECT_THROW(run(o.slice(0, 0, 3), k, state), Error);
  EXPECT_THROW(run(o, k.slice(0, 0, 3), state), Error);
  EXPECT_THROW(run(o, k, state.slice(1, 0, 2)), Error);
  EXPECT_THROW(run(o, view(x.k.data(), {4, 1, 3, 8}), state), Error);
  for (const std::vector<std::int32_t>& bad :
       {std::vector<std::int32_t>{1, 1, 1, 1}, {0, 0, 1, 1}, {0, 2, 2, 2}, {0, 0, 0, -1}}) {
    x.starts = bad;
    EXPECT_THROW(run(o, k, state), Error);
    EXPECT_THROW(x.backward(stream), Error);
  }
  x.starts = {0, 0, 2, 2};
  run(o, k, state);
  x.options.slopes = {1, 1, 1};
  EXPECT_THROW(run(o, k, state), Error);
  x.options.slopes = {1, 1, 1, -1};
  EXPECT_THROW(run(o, k, state), Error);
}

}  // namespace
}  // namespace halo::kernels
