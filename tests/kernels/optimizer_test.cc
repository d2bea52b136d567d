#include "kernels/optimizer.h"

#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

template <class T>
struct Moments {
  std::vector<T> master, m, v;
  explicit Moments(std::int64_t n)
      : master(random_values<T>(n, "master")),
        m(static_cast<std::size_t>(n)),
        v(static_cast<std::size_t>(n)) {}
  void step(std::vector<T> grad, const AdamWStep& step, Stream& stream) {
    adamw(flat(master), flat(m), flat(v), flat(grad), step, stream);
  }
};

template <class T>
std::vector<T> gradient_of_step(std::int64_t n, std::int64_t t) {
  return random_values<T>(n, str("gradient ", t));
}

AdamWStep step_at(std::int64_t t) {
  return {.lr = 1e-3 * static_cast<double>(t), .weight_decay = 0.1, .t = t, .grad_scale = 0.7};
}

/// torch.optim.AdamW's update as its documentation writes it, in float64.
void plain_step(Moments<double>& state, const std::vector<double>& grad, const AdamWStep& step) {
  const auto t = static_cast<double>(step.t);
  for (std::size_t i = 0; i < grad.size(); ++i) {
    const double g = grad[i] * step.grad_scale;
    state.master[i] -= step.lr * step.weight_decay * state.master[i];
    state.m[i] = step.beta1 * state.m[i] + (1 - step.beta1) * g;
    state.v[i] = step.beta2 * state.v[i] + (1 - step.beta2) * g * g;
    const double m_hat = state.m[i] / (1 - std::pow(step.beta1, t));
    const double v_hat = state.v[i] / (1 - std::pow(step.beta2, t));
    state.master[i] -= step.lr * m_hat / (std::sqrt(v_hat) + step.eps);
  }
}

template <class T>
class OptimizerTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(OptimizerTest, Floats);

TYPED_TEST(OptimizerTest, AdamWEqualsThePlainUpdate) {
  using T = TypeParam;
  Stream stream(2);
  for (const std::int64_t n : {0, 1, 7, 65, 9001}) {
    Moments<T> state(n);
    Moments<double> expected(n);
    expected.master.assign(state.master.begin(), state.master.end());
    std::vector<double> size;
    for (const double value : expected.master) size.push_back(std::abs(value) + 0.1);
    for (std::int64_t t = 1; t <= 6; ++t) {
      const auto grad = gradient_of_step<T>(n, t);
      state.step(grad, step_at(t), stream);
      plain_step(expected, converted<double>(grad), step_at(t));
      // A step rounds master twice (a unit of its value in all) and moves it by at most 2 lr <= 0.02, with a dozen
      // units of relative error in that.
      expect_within("master", state.master, expected.master, size, 2 * static_cast<double>(t));
    }
    std::vector<double> ones(static_cast<std::size_t>(n),
                             4);  // gradients and their squares are below 16
    expect_within("m", state.m, expected.m, ones, 2);
    expect_within("v", state.v, expected.v, ones, 4);
  }
}

TYPED_TEST(OptimizerTest, RateZeroLeavesTheMasterAlone) {
  using T = TypeParam;
  Stream stream(1);
  Moments<T> state(65);
  const auto before = state.master;
  state.step(gradient_of_step<T>(65, 1), {.lr = 0, .weight_decay = 0.1, .t = 1}, stream);
  EXPECT_EQ(state.master, before);
  EXPECT_NE(state.m, std::vector<T>(65));
}

TYPED_TEST(OptimizerTest, ZeroGradientsDivideNothingByZero) {
  using T = TypeParam;
  Stream stream(1);
  Moments<T> state(3);
  const auto before = state.master;
  state.step(std::vector<T>(3), {.lr = 0.1, .t = 1}, stream);
  EXPECT_EQ(state.master, before);
}

TYPED_TEST(OptimizerTest, BitsDoNotDependOnTheThreads) {
  using T = TypeParam;
  auto x = random_values<T>(100003, "x");
  expect_same_bits([&](Stream& stream) {
    Moments<T> state(50021);
    state.step(gradient_of_step<T>(50021, 1), step_at(1), stream);
    return std::tuple(state.master, state.m, state.v, sum_of_squares(flat(x), stream));
  });
}

TYPED_TEST(OptimizerTest, SumOfSquares) {
  using T = TypeParam;
  Stream stream(3);
  for (const std::int64_t n : {0, 1, 7, 4095, 4097, 100003}) {
    auto x = random_values<T>(n, "x");
    long double expected = 0;
    for (const T value : x) expected += static_cast<long double>(value) * value;
    // float64 sums also of float32 values: a thousand additions a run, a hundredth of which shows.
    EXPECT_NEAR(sum_of_squares(flat(x), stream), static_cast<double>(expected),
                1e-14 * static_cast<double>(expected));
  }
  std::vector<float> large(5000, 1e30f);  // float32 squares would overflow
  EXPECT_NEAR(sum_of_squares(flat(large), stream) / 5e63, 1, 1e-6);
}

template <class T>
void expect_count_nonfinite() {
  Stream stream(2);
  std::vector<T> x(9001, T(1.5f));
  EXPECT_EQ(count_nonfinite(flat(x), stream), 0);
  x[0] = T(std::numeric_limits<float>::infinity());
  x[4096] = T(-std::numeric_limits<float>::infinity());
  x[9000] = T(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(count_nonfinite(flat(x), stream), 3);
}

TEST(Optimizer, CountsNonfiniteInEveryFloatingDtype) {
  expect_count_nonfinite<float>();
  expect_count_nonfinite<double>();
  expect_count_nonfinite<BFloat16>();
  expect_count_nonfinite<Float16>();
  Stream stream(1);
  std::vector<float> edges{std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(),
                           std::numeric_limits<float>::denorm_min(), 0.0f};
  EXPECT_EQ(count_nonfinite(flat(edges), stream), 0);
  std::vector<double> beyond_float{1e300};
  EXPECT_EQ(count_nonfinite(flat(beyond_float), stream), 0);
}

/// from[i] in another dtype, read back exactly.
template <class To, class From>
std::vector<double> cast_values(std::vector<From> from, int threads = 1) {
  Stream stream(threads);
  std::vector<To> to(from.size());
  cast(flat(to), flat(from), stream);
  std::vector<double> values(from.size());
  cast(flat(values), flat(to), stream);
  return values;
}

TEST(Optimizer, CastsRoundToNearestEven) {
  const double tie = 1 + 0x1p-8;  // halfway between two bfloat16 values
  EXPECT_EQ(cast_values<BFloat16>(std::vector<double>{tie, tie + 0x1p-7, -tie}),
            (std::vector<double>{1, 1 + 0x1p-6, -1}));
  // Rounded to float32 on the way, these would fall onto the tie and then to the wrong side.
  EXPECT_EQ(cast_values<BFloat16>(std::vector<double>{tie + 0x1p-40, tie + 0x1p-7 - 0x1p-40}),
            (std::vector<double>{1 + 0x1p-7, 1 + 0x1p-7}));
  EXPECT_EQ(cast_values<Float16>(std::vector<double>{1 + 0x1p-11, 1 + 0x1p-11 + 0x1p-40}),
            (std::vector<double>{1, 1 + 0x1p-10}));
  EXPECT_EQ(cast_values<BFloat16>(std::vector<float>{static_cast<float>(tie), 3.0f}),
            (std::vector<double>{1, 3}));
  EXPECT_EQ(cast_values<float>(std::vector<double>{1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-40}),
            (std::vector<double>{1, 1 + 0x1p-23}));
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(cast_values<BFloat16>(std::vector<double>{1e300, -infinity}),
            (std::vector<double>{infinity, -infinity}));
  EXPECT_TRUE(std::isnan(
      cast_values<BFloat16>(std::vector<double>{std::numeric_limits<double>::quiet_NaN()})[0]));
}

TEST(Optimizer, CastsToAWiderDtypeAreExact) {
  const auto floats = random_values<float>(9001, "floats");
  EXPECT_EQ(cast_values<double>(floats, 3), converted<double>(floats));
  EXPECT_EQ(cast_values<float>(floats, 3), converted<double>(floats));
  const auto halves = cast_values<Float16>(floats);
  EXPECT_EQ(cast_values<float>(halves), halves);
}

TEST(Optimizer, ChecksItsOperands) {
  Stream stream(1);
  std::vector<float> a(8), b(8), c(8), d(8);
  std::vector<double> wide(8);
  const TensorView w = flat(a), m = flat(b), v = flat(c), g = flat(d);
  const AdamWStep good;
  EXPECT_THROW(adamw(w, m, v, flat(wide), good, stream), Error);
  EXPECT_THROW(adamw(w, m, v, g.slice(0, 0, 7), good, stream), Error);
  EXPECT_THROW(adamw(w, m, m, g, good, stream), Error);
  EXPECT_THROW(adamw(w, m, v, w, good, stream), Error);
  EXPECT_THROW(adamw(view(a.data(), {2, 4}), m, v, g, good, stream), Error);
  EXPECT_THROW(adamw(w, m, v, g, {.t = 0}, stream), Error);
  EXPECT_THROW(adamw(w, m, v, g, {.beta1 = 1}, stream), Error);
  EXPECT_THROW(adamw(w, m, v, g, {.eps = -1}, stream), Error);
  std::vector<BFloat16> halves(8);
  EXPECT_THROW(adamw(flat(halves), m, v, g, good, stream), Error);
  std::vector<std::int32_t> whole(8);
  EXPECT_THROW(static_cast<void>(sum_of_squares(flat(whole), stream)), Error);
  EXPECT_THROW(static_cast<void>(count_nonfinite(flat(whole), stream)), Error);
  EXPECT_THROW(cast(flat(whole), w, stream), Error);
  EXPECT_THROW(cast(m.slice(0, 0, 4), w, stream), Error);
  EXPECT_THROW(cast(w, w, stream), Error);
}

}  // namespace
}  // namespace halo::kernels
