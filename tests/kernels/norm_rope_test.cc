#include "kernels/norm_rope.h"

#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

struct Heads {
  static constexpr std::int64_t T = 7, B = 2, H = 3, K = 8, N = T * B * H;
  const Shape shape{T, B, H, K};
  Stream stream{2};
  std::vector<double> x, weight, cos, sin;

  Heads() {
    const CounterRng rng(1, "heads");
    for (std::uint64_t i = 0; i < N * K; ++i) x.push_back(rng.normal(i));
    for (std::uint64_t i = 0; i < K; ++i) weight.push_back(1 + 0.1 * rng.normal(1000 + i));
    cos.resize(T * K / 2);
    sin.resize(T * K / 2);
    rope_tables(view(cos.data(), {T, K / 2}), view(sin.data(), {T, K / 2}), 2, 1e4, stream);
  }
  [[nodiscard]] HeadRotation rotation() {
    return {view(cos.data(), {T, K / 2}), view(sin.data(), {T, K / 2})};
  }
  /// Sum of y * direction.
  double project(const std::vector<double>& direction) {
    std::vector<double> y(x.size()), inv_rms(N);
    norm_rope(view(y.data(), shape), view(inv_rms.data(), {N}), view(x.data(), shape),
              view(weight.data(), {K}), 1e-6, rotation(), stream);
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * direction[i];
    return sum;
  }
};

TEST(NormRopeTest, IsNormThenRope) {
  Heads a;
  std::vector<double> y(a.x.size()), inv_rms(Heads::N), expected(a.x.size()), statistics(Heads::N);
  norm_rope(view(y.data(), a.shape), view(inv_rms.data(), {Heads::N}), view(a.x.data(), a.shape),
            view(a.weight.data(), {Heads::K}), 1e-6, a.rotation(), a.stream);
  rms_norm(view(expected.data(), {Heads::N, Heads::K}), view(statistics.data(), {Heads::N}),
           view(a.x.data(), {Heads::N, Heads::K}), view(a.weight.data(), {Heads::K}), 1e-6,
           a.stream);
  apply_rope(view(expected.data(), a.shape), a.rotation().cos, a.rotation().sin, false, a.stream);
  EXPECT_EQ(y, expected);
  EXPECT_EQ(inv_rms, statistics);
}

TEST(NormRopeTest, BackwardIsTheGradient) {
  Heads a;
  const CounterRng rng(2, "direction");
  std::vector<double> direction;
  for (std::uint64_t i = 0; i < a.x.size(); ++i) direction.push_back(rng.normal(i));
  std::vector<double> y(a.x.size()), inv_rms(Heads::N), d = direction, dweight(Heads::K, 0.0);
  norm_rope(view(y.data(), a.shape), view(inv_rms.data(), {Heads::N}), view(a.x.data(), a.shape),
            view(a.weight.data(), {Heads::K}), 1e-6, a.rotation(), a.stream);
  norm_rope_backward(view(d.data(), a.shape), view(dweight.data(), {Heads::K}),
                     view(a.x.data(), a.shape), view(a.weight.data(), {Heads::K}),
                     view(inv_rms.data(), {Heads::N}), a.rotation(), a.stream);
  const auto slope = [&](double& at) {
    constexpr double kStep = 1e-5;
    const double before = at;
    at = before + kStep;
    const double above = a.project(direction);
    at = before - kStep;
    const double below = a.project(direction);
    at = before;
    return (above - below) / (2 * kStep);
  };
  for (const std::size_t i : {std::size_t{0}, std::size_t{13}, a.x.size() - 1})
    EXPECT_NEAR(d[i], slope(a.x[i]), 1e-8);
  for (std::size_t i = 0; i < a.weight.size(); ++i)
    EXPECT_NEAR(dweight[i], slope(a.weight[i]), 1e-7);
}

TEST(NormRopeTest, RefusesWrongShapes) {
  Heads a;
  std::vector<double> y(a.x.size()), inv_rms(Heads::N);
  const auto run = [&](const TensorView& out, const TensorView& weight,
                       const HeadRotation& rotation) {
    norm_rope(out, view(inv_rms.data(), {Heads::N}), view(a.x.data(), a.shape), weight, 1e-6,
              rotation, a.stream);
  };
  const TensorView good = view(y.data(), a.shape), weight = view(a.weight.data(), {Heads::K});
  EXPECT_THROW(run(view(a.x.data(), a.shape), weight, a.rotation()), Error);
  EXPECT_THROW(run(good, view(a.weight.data(), {Heads::K - 1}), a.rotation()), Error);
  HeadRotation few = a.rotation();
  few.sin = few.sin.slice(0, 0, 3);
  EXPECT_THROW(run(good, weight, few), Error);
}

}  // namespace
}  // namespace halo::kernels
