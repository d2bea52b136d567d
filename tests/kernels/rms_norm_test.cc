#include "kernels/rms_norm.h"

#include <gmock/gmock.h>

#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

constexpr double kEps = 1e-6;

/// One case's operands, in T, and the plain float64 formulas.
template <class T>
struct NormProblem {
  std::int64_t N, D;
  std::vector<T> x, weight, dy, y, inv_rms;

  NormProblem(std::int64_t rows, std::int64_t columns)
      : N(rows),
        D(columns),
        x(random_values<T>(N * D, "x")),
        weight(random_values<T>(D, "weight")),
        dy(random_values<T>(N * D, "dy")),
        y(poisoned<T>(N * D)),
        inv_rms(poisoned<T>(N)) {}

  void forward(Stream& stream) {
    rms_norm(view(y.data(), {N, D}), view(inv_rms.data(), {N}), view(x.data(), {N, D}),
             view(weight.data(), {D}), kEps, stream);
  }
  void backward(std::vector<T>& dx, std::vector<T>* dweight, bool accumulate, Stream& stream) {
    rms_norm_backward(view(dx.data(), {N, D}),
                      dweight == nullptr ? TensorView() : view(dweight->data(), {D}),
                      view(dy.data(), {N, D}), view(x.data(), {N, D}), view(weight.data(), {D}),
                      view(inv_rms.data(), {N}), accumulate, stream);
  }
  [[nodiscard]] double at(const std::vector<T>& values, std::int64_t n, std::int64_t d) const {
    return static_cast<double>(values[static_cast<std::size_t>(n * D + d)]);
  }
  [[nodiscard]] double scale(std::int64_t n) const {
    double squares = 0;
    for (std::int64_t d = 0; d < D; ++d) squares += at(x, n, d) * at(x, n, d);
    return 1 / std::sqrt(squares / static_cast<double>(D) + kEps);
  }
};

/// dx and dweight of a problem with the sizes of the terms that make them.
struct Gradients {
  std::vector<double> dx, dx_size, dweight, dweight_size;
};

template <class T>
Gradients plain_gradients(const NormProblem<T>& p) {
  const auto D = static_cast<std::size_t>(p.D);
  Gradients g{.dx = {},
              .dx_size = {},
              .dweight = std::vector<double>(D),
              .dweight_size = std::vector<double>(D)};
  for (std::int64_t n = 0; n < p.N; ++n) {
    const double scale = p.scale(n);
    double dot = 0, dot_size = 0;
    for (std::int64_t d = 0; d < p.D; ++d) {
      const double term = p.at(p.dy, n, d) * p.at(p.weight, 0, d) * p.at(p.x, n, d);
      dot += term;
      dot_size += std::abs(term);
    }
    for (std::int64_t d = 0; d < p.D; ++d) {
      const double direct = p.at(p.dy, n, d) * p.at(p.weight, 0, d) * scale;
      const double through = p.at(p.x, n, d) * scale * scale * scale / static_cast<double>(p.D);
      g.dx.push_back(direct - through * dot);
      g.dx_size.push_back(std::abs(direct) + std::abs(through) * dot_size);
      const double share = p.at(p.dy, n, d) * p.at(p.x, n, d) * scale;
      g.dweight[static_cast<std::size_t>(d)] += share;
      g.dweight_size[static_cast<std::size_t>(d)] += std::abs(share);
    }
  }
  return g;
}

template <class T>
class RmsNormTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(RmsNormTest, Floats);

constexpr std::int64_t kRows[] = {0, 1, 2, 7, 65};
constexpr std::int64_t kColumns[] = {1, 3, 16, 64, 257};

TYPED_TEST(RmsNormTest, NormalisesRows) {
  Stream stream(2);
  for (const std::int64_t N : kRows) {
    for (const std::int64_t D : kColumns) {
      NormProblem<TypeParam> p(N, D);
      p.forward(stream);
      std::vector<double> expected, size, scales;
      for (std::int64_t n = 0; n < N; ++n) {
        scales.push_back(p.scale(n));
        for (std::int64_t d = 0; d < D; ++d) {
          expected.push_back(p.at(p.x, n, d) * scales.back() * p.at(p.weight, 0, d));
          size.push_back(std::abs(expected.back()));
        }
      }
      // The sum's relative error is at most a run of D / 4 additions, halved by the root; 4 more roundings follow.
      const double units = 5 + static_cast<double>(D) / 8;
      expect_within("inv_rms", p.inv_rms, scales, scales, units);
      expect_within("y", p.y, expected, size, units);
    }
  }
}

// A single running sum of 4096 equal squares drifts by dozens of units; runs of vectors must not.
TEST(RmsNorm, Float32SumsOfLongRowsAreExact) {
  Stream stream(1);
  NormProblem<float> p(1, 4096);
  std::fill(p.x.begin(), p.x.end(), 1.1f);
  p.forward(stream);
  const double expected = p.scale(0);
  EXPECT_NEAR(p.inv_rms[0], expected, 8 * 6e-8 * expected);
}

TYPED_TEST(RmsNormTest, GradientsEqualThePlainFormulas) {
  using T = TypeParam;
  Stream stream(2);
  for (const std::int64_t N : kRows) {
    for (const std::int64_t D : kColumns) {
      SCOPED_TRACE(str("N=", N, " D=", D));
      NormProblem<T> p(N, D);
      p.forward(stream);
      const Gradients expected = plain_gradients(p);
      // inv_rms is off by D/8 + 5 units, cubed; the dot product by D/4; some 8 products and sums more.
      const double units = 24 + static_cast<double>(D);
      auto dx = poisoned<T>(N * D);
      std::vector<T> dweight(static_cast<std::size_t>(D));
      p.backward(dx, &dweight, false, stream);
      expect_within("dx", dx, expected.dx, expected.dx_size, units);
      expect_within("dweight", dweight, expected.dweight, expected.dweight_size,
                    units + static_cast<double>(N));

      auto frozen = poisoned<T>(N * D);
      p.backward(frozen, nullptr, false, stream);
      EXPECT_EQ(frozen, dx) << "without the weight's gradient";

      auto twice = dx;
      auto dweight_twice = dweight;
      p.backward(twice, &dweight_twice, true, stream);
      for (std::size_t i = 0; i < dx.size(); ++i) {
        ASSERT_NEAR(twice[i], 2 * dx[i],
                    2 * std::numeric_limits<T>::epsilon() * expected.dx_size[i]);
      }
      for (std::size_t d = 0; d < dweight.size(); ++d) ASSERT_EQ(dweight_twice[d], 2 * dweight[d]);
    }
  }
}

TEST(RmsNorm, GradientsAreDerivatives) {
  Stream stream(1);
  for (const auto& [N, D] : {std::pair{1, 1}, {2, 3}, {7, 16}, {1, 257}}) {
    NormProblem<double> p(N, D);
    for (double& value : p.x)
      value += value < 0 ? -0.5 : 0.5;  // curvature grows as 1 / x^3 at D = 1
    p.forward(stream);
    auto dx = poisoned(p.N * p.D);
    std::vector<double> dweight(p.weight.size());
    p.backward(dx, &dweight, false, stream);
    const auto loss = [&] {
      p.forward(stream);
      return weighted_sum(p.y, p.dy);
    };
    expect_gradient("x", p.x, dx, loss);
    expect_gradient("weight", p.weight, dweight, loss);
  }
}

TYPED_TEST(RmsNormTest, WorksInPlace) {
  using T = TypeParam;
  Stream stream(2);
  NormProblem<T> p(65, 257);
  p.forward(stream);
  auto dx = poisoned<T>(p.N * p.D);
  std::vector<T> dweight(p.weight.size()), dweight_in_place(p.weight.size());
  p.backward(dx, &dweight, false, stream);

  auto y = p.x;
  rms_norm(view(y.data(), {p.N, p.D}), view(p.inv_rms.data(), {p.N}), view(y.data(), {p.N, p.D}),
           view(p.weight.data(), {p.D}), kEps, stream);
  EXPECT_EQ(y, p.y);
  rms_norm_backward(view(p.dy.data(), {p.N, p.D}), view(dweight_in_place.data(), {p.D}),
                    view(p.dy.data(), {p.N, p.D}), view(p.x.data(), {p.N, p.D}),
                    view(p.weight.data(), {p.D}), view(p.inv_rms.data(), {p.N}), false, stream);
  EXPECT_EQ(p.dy, dx);
  EXPECT_EQ(dweight_in_place, dweight);
}

TYPED_TEST(RmsNormTest, BitsDoNotDependOnTheThreads) {
  using T = TypeParam;
  for (const auto& [N, D] : {std::pair{5003, 16}, {131, 257}}) {
    NormProblem<T> p(N, D);
    expect_same_bits([&](Stream& stream) {
      p.forward(stream);
      auto dx = poisoned<T>(p.N * p.D);
      std::vector<T> dweight(p.weight.size());
      p.backward(dx, &dweight, false, stream);
      return std::tuple(p.y, p.inv_rms, dx, dweight);
    });
  }
}

TEST(RmsNorm, ChecksItsOperands) {
  Stream stream(1);
  std::vector<float> a(12), b(12), w(4), r(3), sums(4);
  std::vector<double> wide(12);
  const TensorView x = view(a.data(), {3, 4}), y = view(b.data(), {3, 4});
  const TensorView weight = view(w.data(), {4}), inv_rms = view(r.data(), {3});
  const TensorView shifted = view(a.data() + 1, {2, 4}), other = view(wide.data(), {3, 4});
  EXPECT_THAT(error_of([&] { rms_norm(y, inv_rms, x, inv_rms, kEps, stream); }),
              testing::HasSubstr("weight is (3) float32, expected (4) float32"));
  EXPECT_THROW(rms_norm(y, weight, x, weight, kEps, stream), Error);
  EXPECT_THROW(rms_norm(other, inv_rms, x, weight, kEps, stream), Error);
  EXPECT_THROW(rms_norm(y, inv_rms, x.slice(1, 0, 2), view(w.data(), {2}), kEps, stream), Error);
  EXPECT_THROW(rms_norm(y, inv_rms, x, weight, 0, stream), Error);
  EXPECT_THROW(rms_norm(shifted, view(r.data(), {2}), x.slice(0, 0, 2), weight, kEps, stream),
               Error);
  TensorView elsewhere = y;
  elsewhere.device = Device::kCuda;
  EXPECT_THROW(rms_norm(elsewhere, inv_rms, x, weight, kEps, stream), Error);

  const TensorView dweight = view(sums.data(), {4});
  std::vector<float> c(12);
  const TensorView dx = view(c.data(), {3, 4});
  EXPECT_THROW(rms_norm_backward(x, dweight, y, x, weight, inv_rms, false, stream), Error);
  EXPECT_THROW(rms_norm_backward(dx, inv_rms, y, x, weight, inv_rms, false, stream), Error);
  EXPECT_THROW(rms_norm_backward(dx, dweight, other, x, weight, inv_rms, false, stream), Error);
  EXPECT_THROW(rms_norm_backward(dx, dweight, y, x, weight, weight, false, stream), Error);
  EXPECT_THROW(rms_norm_backward(dx, dweight, y, x, inv_rms, inv_rms, false, stream), Error);
}

}  // namespace
}  // namespace halo::kernels
