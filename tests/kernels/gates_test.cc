#include "kernels/gates.h"

#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

using Sizes = std::vector<std::int64_t>;

double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

/// Three operands and the results of every gate in T.
template <class T>
struct Gates {
  std::vector<T> a, b, dy;
  explicit Gates(std::int64_t n)
      : a(random_values<T>(n, "a")), b(random_values<T>(n, "b")), dy(random_values<T>(n, "dy")) {
    for (T& value : a) value *= 3;  // where the sigmoid bends and where it is flat
    for (T& value : b) value *= 3;
  }
  std::vector<T> swiglu_of(Stream& stream) {
    auto y = poisoned<T>(std::ssize(a));
    swiglu(flat(y), flat(a), flat(b), stream);
    return y;
  }
  std::vector<T> gated(Stream& stream) {
    auto y = poisoned<T>(std::ssize(a));
    sigmoid_gate(flat(y), flat(a), flat(b), stream);
    return y;
  }
  std::pair<std::vector<T>, std::vector<T>> swiglu_gradients(Stream& stream) {
    auto da = poisoned<T>(std::ssize(a)), db = da;
    swiglu_backward(flat(da), flat(db), {}, flat(dy), flat(a), flat(b), stream);
    return {da, db};
  }
  std::pair<std::vector<T>, std::vector<T>> gate_gradients(Stream& stream) {
    auto da = poisoned<T>(std::ssize(a)), db = da;
    sigmoid_gate_backward(flat(da), flat(db), {}, flat(dy), flat(a), flat(b), stream);
    return {da, db};
  }
};

template <class T>
class GatesTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(GatesTest, Floats);

const Sizes kSizes{0, 1, 3, 16, 257, 9001};

// An exponential (2 units), a sum, a quotient and two or three products: fewer than 6 units in all.
constexpr double kUnits = 6;

TYPED_TEST(GatesTest, EqualThePlainFormulas) {
  using T = TypeParam;
  Stream stream(2);
  for (const std::int64_t n : kSizes) {
    Gates<T> g(n);
    std::vector<double> silu_up, gated, dgate, dgate_size, dup, dx, dz, sum;
    for (std::size_t i = 0; i < g.a.size(); ++i) {
      const double a = g.a[i], b = g.b[i], dy = g.dy[i], s = sigmoid(a), c = sigmoid(-a);
      silu_up.push_back(a * s * b);
      dgate.push_back(dy * b * (s + a * s * c));
      dgate_size.push_back(std::abs(dy * b) * s * (1 + std::abs(a) * c));
      dup.push_back(dy * a * s);
      gated.push_back(a * sigmoid(b));
      dx.push_back(dy * sigmoid(b));
      dz.push_back(dy * a * sigmoid(b) * sigmoid(-b));
      sum.push_back(static_cast<double>(g.a[i] + g.b[i]));
    }
    const auto size = [](std::vector<double> values) {
      for (double& value : values) value = std::abs(value);
      return values;
    };
    expect_within("swiglu", g.swiglu_of(stream), silu_up, size(silu_up), kUnits);
    expect_within("sigmoid_gate", g.gated(stream), gated, size(gated), kUnits);
    const auto [da, db] = g.swiglu_gradients(stream);
    expect_within("dgate", da, dgate, dgate_size, kUnits + 2);
    expect_within("dup", db, dup, size(dup), kUnits);
    const auto [dxs, dzs] = g.gate_gradients(stream);
    expect_within("dx", dxs, dx, size(dx), kUnits);
    expect_within("dz", dzs, dz, size(dz), kUnits + 2);
    auto y = poisoned<T>(n);
    add(flat(y), flat(g.a), flat(g.b), stream);
    expect_within("add", y, sum, size(sum), 0);
  }
}

TEST(Gates, GradientsAreDerivatives) {
  Stream stream(1);
  Gates<double> g(65);
  const auto [dgate, dup] = g.swiglu_gradients(stream);
  const auto swiglu_loss = [&] { return weighted_sum(g.swiglu_of(stream), g.dy); };
  expect_gradient("gate", g.a, dgate, swiglu_loss);
  expect_gradient("up", g.b, dup, swiglu_loss);
  const auto [dx, dz] = g.gate_gradients(stream);
  const auto gate_loss = [&] { return weighted_sum(g.gated(stream), g.dy); };
  expect_gradient("x", g.a, dx, gate_loss);
  expect_gradient("z", g.b, dz, gate_loss);
}

TYPED_TEST(GatesTest, HugeInputsSaturate) {
  using T = TypeParam;
  Stream stream(1);
  Gates<T> g(6);
  g.a = {T(1e4), T(-1e4), T(100), T(-100), T(800), T(-800)};
  g.b = g.a;
  g.dy = std::vector<T>(6, T(1));
  const auto silu_up = g.swiglu_of(stream), gated = g.gated(stream);
  const auto [da, db] = g.swiglu_gradients(stream);
  const auto [dx, dz] = g.gate_gradients(stream);
  const T tiny = T(1e-20);  // of 1e4 e^-80, all that is left of the flat side in float32
  for (std::size_t i = 0; i < 6; i += 2) {
    EXPECT_EQ(silu_up[i], g.a[i] * g.b[i]);
    EXPECT_EQ(gated[i], g.a[i]);
    EXPECT_EQ(da[i], g.b[i]);
    EXPECT_EQ(db[i], g.a[i]);
    EXPECT_EQ(dx[i], 1);
    EXPECT_NEAR(dz[i], 0, tiny);
    EXPECT_NEAR(silu_up[i + 1], 0, tiny);
    EXPECT_NEAR(gated[i + 1], 0, tiny);
    EXPECT_NEAR(da[i + 1], 0, tiny);
    EXPECT_NEAR(db[i + 1], 0, tiny);
    EXPECT_NEAR(dx[i + 1], 0, tiny);
    EXPECT_NEAR(dz[i + 1], 0, tiny);
  }
}

TYPED_TEST(GatesTest, KeepNaN) {
  using T = TypeParam;
  Stream stream(1);
  Gates<T> g(40);
  g.a[33] = g.b[33] = std::numeric_limits<T>::quiet_NaN();
  EXPECT_TRUE(std::isnan(g.swiglu_of(stream)[33]));
  EXPECT_TRUE(std::isnan(g.gated(stream)[33]));
  EXPECT_FALSE(std::isnan(g.gated(stream)[32]));
}

TYPED_TEST(GatesTest, WorkInPlace) {
  using T = TypeParam;
  Stream stream(2);
  Gates<T> g(9001);
  const auto y = g.swiglu_of(stream), gated = g.gated(stream);
  const auto [dx, dz] = g.gate_gradients(stream);
  auto dgate = poisoned<T>(9001), dup = dgate, output = dgate;
  swiglu_backward(flat(dgate), flat(dup), flat(output), flat(g.dy), flat(g.a), flat(g.b), stream);
  std::vector<double> expected(y.begin(), y.end()), size = expected;
  for (double& value : size) value = std::fabs(value);
  expect_within("output", output, expected, size, 4);

  Gates<T> h = g;
  swiglu(flat(h.a), flat(h.a), flat(h.b), stream);
  EXPECT_EQ(h.a, y);
  h = g;
  swiglu_backward(flat(h.a), flat(h.b), flat(h.dy), flat(h.dy), flat(h.a), flat(h.b), stream);
  EXPECT_EQ(std::tuple(h.a, h.b, h.dy), std::tuple(dgate, dup, output));
  h = g;
  sigmoid_gate(flat(h.a), flat(h.a), flat(h.b), stream);
  EXPECT_EQ(h.a, gated);
  h = g;
  sigmoid_gate_backward(flat(h.dy), flat(h.b), {}, flat(h.dy), flat(h.a), flat(h.b), stream);
  EXPECT_EQ(std::pair(h.dy, h.b), std::pair(dx, dz));
  h = g;
  sigmoid_gate_backward(flat(h.dy), flat(h.b), flat(h.a), flat(h.dy), flat(h.a), flat(h.b), stream);
  EXPECT_EQ(std::tuple(h.dy, h.b, h.a), std::tuple(dx, dz, gated));
  h = g;
  auto sum = poisoned<T>(9001);
  add(flat(sum), flat(g.a), flat(g.b), stream);
  add(flat(h.b), flat(h.a), flat(h.b), stream);
  EXPECT_EQ(h.b, sum);
}

TYPED_TEST(GatesTest, BitsDoNotDependOnTheThreads) {
  Gates<TypeParam> g(50021);
  expect_same_bits([&](Stream& stream) {
    return std::tuple(g.swiglu_of(stream), g.gated(stream), g.swiglu_gradients(stream),
                      g.gate_gradients(stream));
  });
}

TEST(Gates, CheckTheirOperands) {
  Stream stream(1);
  std::vector<float> a(8), b(8), c(8), d(8), e(8);
  std::vector<double> wide(8);
  const TensorView x = flat(a), y = flat(b), z = flat(c);
  const TensorView half = x.slice(0, 0, 4), shifted = x.slice(0, 1, 5);
  EXPECT_THROW(swiglu(y, x, z.slice(0, 0, 7), stream), Error);
  EXPECT_THROW(swiglu(y, x, flat(wide), stream), Error);
  EXPECT_THROW(swiglu(flat(wide), x, z, stream), Error);
  EXPECT_THROW(swiglu(shifted, half, z.slice(0, 0, 4), stream), Error);
  EXPECT_THROW(swiglu(view(b.data(), {2, 4}), x, z, stream), Error);
  EXPECT_THROW(swiglu_backward(flat(d), flat(d), {}, x, y, z, stream), Error);
  EXPECT_THROW(swiglu_backward(flat(d), flat(wide), {}, x, y, z, stream), Error);
  EXPECT_THROW(swiglu_backward(flat(d), flat(e), flat(e), x, y, z, stream), Error);
  EXPECT_THROW(swiglu_backward(flat(d), flat(e), flat(wide), x, y, z, stream), Error);
  EXPECT_THROW(sigmoid_gate(half, shifted, z.slice(0, 0, 4), stream), Error);
  EXPECT_THROW(sigmoid_gate_backward(flat(e), flat(e), {}, x, y, z, stream), Error);
  EXPECT_THROW(sigmoid_gate_backward(flat(d), flat(e), flat(e), x, y, z, stream), Error);
  EXPECT_THROW(sigmoid_gate_backward(flat(d), flat(e), flat(wide), x, y, z, stream), Error);
  EXPECT_THROW(add(y.slice(0, 0, 4), x, z, stream), Error);
  std::vector<std::int32_t> whole(8);
  EXPECT_THROW(add(flat(whole), flat(whole), flat(whole), stream), Error);
}

}  // namespace
}  // namespace halo::kernels
