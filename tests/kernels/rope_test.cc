#include "kernels/rope.h"

#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

constexpr double kTheta = 1e6;

template <class T>
struct Tables {
  std::int64_t rows, half;
  std::vector<T> cos, sin;
  Tables(std::int64_t t, std::int64_t half_width, std::int64_t first, Stream& stream)
      : rows(t), half(half_width), cos(poisoned<T>(t * half)), sin(poisoned<T>(t * half)) {
    rope_tables(cos_view(), sin_view(), first, kTheta, stream);
  }
  TensorView cos_view() { return view(cos.data(), {rows, half}); }
  TensorView sin_view() { return view(sin.data(), {rows, half}); }
};

template <class T>
class RopeTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(RopeTest, Floats);

TYPED_TEST(RopeTest, TablesAreCosinesAndSines) {
  using T = TypeParam;
  const auto eps = static_cast<double>(std::numeric_limits<T>::epsilon());
  Stream stream(3);
  for (const std::int64_t first : {0, 1, 100000}) {
    for (const std::int64_t half : {1, 8, 33}) {
      const Tables<T> tables(65, half, first, stream);
      for (std::int64_t i = 0; i < 65 * half; ++i) {
        const double exponent = static_cast<double>(i % half) / static_cast<double>(half);
        const double angle = static_cast<double>(first + i / half) / std::pow(kTheta, exponent);
        // The frequency and the angle are rounded once each, and so is the result.
        const double tolerance = eps * (1.5 * angle + 1);
        ASSERT_NEAR(tables.cos[static_cast<std::size_t>(i)], std::cos(angle), tolerance);
        ASSERT_NEAR(tables.sin[static_cast<std::size_t>(i)], std::sin(angle), tolerance);
      }
    }
  }
}

TYPED_TEST(RopeTest, TablesOfAPartAreAPartOfTheTables) {
  using T = TypeParam;
  Stream one(1), four(4);
  const Tables<T> whole(500, 16, 0, four), part(300, 16, 200, one);
  EXPECT_TRUE(std::equal(part.cos.begin(), part.cos.end(), whole.cos.begin() + 200 * 16));
  EXPECT_TRUE(std::equal(part.sin.begin(), part.sin.end(), whole.sin.begin() + 200 * 16));
}

TYPED_TEST(RopeTest, RotatesHalves) {
  using T = TypeParam;
  Stream stream(2);
  for (const std::int64_t T_len : {0, 1, 2, 65}) {
    for (const std::int64_t half : {1, 3, 8, 64}) {
      const std::int64_t B = 2, H = 3, K = 2 * half;
      Tables<T> tables(T_len, half, 7, stream);
      const auto x = random_values<T>(T_len * B * H * K, "x");
      auto y = x;
      const TensorView y_view = view(y.data(), {T_len, B, H, K});
      apply_rope(y_view, tables.cos_view(), tables.sin_view(), false, stream);
      std::vector<double> expected, size;
      for (std::int64_t i = 0; i < T_len * B * H * K; ++i) {
        const std::int64_t k = i % K;
        const auto table = static_cast<std::size_t>(i / (B * H * K) * half + k % half);
        const double c = tables.cos[table], s = k < half ? -tables.sin[table] : tables.sin[table];
        const double mine = x[static_cast<std::size_t>(i)];
        const double partner = x[static_cast<std::size_t>(k < half ? i + half : i - half)];
        expected.push_back(mine * c + partner * s);
        size.push_back(std::abs(mine * c) + std::abs(partner * s));
      }
      expect_within("y", y, expected, size, 1.5);  // two products and a sum, half a unit each

      apply_rope(y_view, tables.cos_view(), tables.sin_view(), true, stream);
      // Back again: another such rounding, and cos^2 + sin^2 is off by two roundings.
      for (std::size_t i = 0; i < x.size(); ++i)
        ASSERT_NEAR(y[i], x[i], 6 * std::numeric_limits<T>::epsilon() * 5);
    }
  }
}

TEST(Rope, InverseIsTheGradient) {
  Stream stream(1);
  const std::int64_t T_len = 7, B = 2, H = 1, K = 6;
  Tables<double> tables(T_len, K / 2, 3, stream);
  auto x = random_values(T_len * B * H * K, "x");
  const auto dy = random_values(T_len * B * H * K, "dy");
  auto dx = dy;
  apply_rope(view(dx.data(), {T_len, B, H, K}), tables.cos_view(), tables.sin_view(), true, stream);
  expect_gradient("x", x, dx, [&] {
    auto y = x;
    apply_rope(view(y.data(), {T_len, B, H, K}), tables.cos_view(), tables.sin_view(), false,
               stream);
    return weighted_sum(y, dy);
  });
}

TYPED_TEST(RopeTest, ScalesByPosition) {
  using T = TypeParam;
  for (const std::int64_t first : {0, 1, 1000000}) {
    const std::int64_t T_len = 65, B = 2, H = 3, K = 5;
    const auto x = random_values<T>(T_len * B * H * K, "x");
    expect_same_bits([&](Stream& stream) {
      auto y = x;
      scale_by_position(view(y.data(), {T_len, B, H, K}), first, 500, stream);
      std::vector<double> expected, size;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const auto t = static_cast<double>(first + static_cast<std::int64_t>(i) / (B * H * K));
        expected.push_back(static_cast<double>(x[i]) * std::log(t + 500) / std::log(500.0));
        size.push_back(std::abs(expected.back()));
      }
      // One rounding in float32; in float64 those of the logarithms and the quotient too.
      expect_within("y", y, expected, size, std::is_same_v<T, float> ? 0.51 : 3);
      return y;
    });
  }
}

TYPED_TEST(RopeTest, BitsDoNotDependOnTheThreads) {
  using T = TypeParam;
  const auto x = random_values<T>(301 * 4 * 24, "x");
  expect_same_bits([&](Stream& stream) {
    Tables<T> tables(301, 12, 0, stream);
    auto y = x;
    apply_rope(view(y.data(), {301, 2, 2, 24}), tables.cos_view(), tables.sin_view(), false,
               stream);
    return std::tuple(tables.cos, tables.sin, y);
  });
}

TEST(Rope, ChecksItsOperands) {
  Stream stream(1);
  std::vector<float> values(24), c(6), s(6);
  std::vector<double> wide(6);
  const TensorView x = view(values.data(), {3, 1, 2, 4});
  const TensorView cos = view(c.data(), {3, 2}), sin = view(s.data(), {3, 2});
  const TensorView other = view(wide.data(), {3, 2});
  EXPECT_THROW(rope_tables(cos, view(s.data(), {2, 3}), 0, kTheta, stream), Error);
  EXPECT_THROW(rope_tables(cos, cos, 0, kTheta, stream), Error);
  EXPECT_THROW(rope_tables(cos, other, 0, kTheta, stream), Error);
  EXPECT_THROW(rope_tables(cos, sin, -1, kTheta, stream), Error);
  EXPECT_THROW(rope_tables(cos, sin, 0, 0, stream), Error);
  EXPECT_THROW(apply_rope(view(values.data(), {3, 1, 1, 8}), cos, sin, false, stream), Error);
  EXPECT_THROW(apply_rope(view(values.data(), {2, 1, 4, 3}), cos, sin, false, stream), Error);
  EXPECT_THROW(apply_rope(view(values.data(), {6, 4}), cos, sin, false, stream), Error);
  EXPECT_THROW(apply_rope(x, other, other, false, stream), Error);
  EXPECT_THROW(apply_rope(x.slice(2, 0, 1), cos, sin, false, stream), Error);
  EXPECT_THROW(scale_by_position(x, 0, 1, stream), Error);
  EXPECT_THROW(scale_by_position(x, -1, 500, stream), Error);
}

}  // namespace
}  // namespace halo::kernels
