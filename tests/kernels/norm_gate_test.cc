#include "kernels/norm_gate.h"

#include "kernels/gates.h"
#include "kernels/rms_norm.h"
#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

constexpr double kEps = 1e-6;
constexpr std::int64_t N = 5, D = 12;

struct Rows {
  std::vector<double> x = random_values(N * D, "x"), z = random_values(N * D, "z");
  std::vector<double> weight = random_values(D, "weight");
  Stream stream{2};

  [[nodiscard]] static TensorView rows(std::vector<double>& values) {
    return view(values.data(), {N, D});
  }
  std::vector<double> forward(std::vector<double>& inv_rms) {
    std::vector<double> y = poisoned(N * D);
    norm_gate(rows(y), view(inv_rms.data(), {N}), rows(x), view(weight.data(), {D}), rows(z), kEps,
              stream);
    return y;
  }
};

TEST(NormGateTest, IsNormThenGate) {
  Rows a;
  std::vector<double> inv_rms(N), statistics(N), expected = poisoned(N * D);
  const std::vector<double> y = a.forward(inv_rms);
  rms_norm(Rows::rows(expected), view(statistics.data(), {N}), Rows::rows(a.x),
           view(a.weight.data(), {D}), kEps, a.stream);
  sigmoid_gate(Rows::rows(expected), Rows::rows(expected), Rows::rows(a.z), a.stream);
  EXPECT_EQ(y, expected);
  EXPECT_EQ(inv_rms, statistics);
}

TEST(NormGateTest, BackwardIsTheGradient) {
  Rows a;
  const std::vector<double> dy = random_values(N * D, "dy");
  std::vector<double> inv_rms(N);
  const std::vector<double> y = a.forward(inv_rms);
  for (const bool output : {true, false}) {
    std::vector<double> d = dy, dz = a.z, dweight(D, 0.0), again = poisoned(N * D);
    norm_gate_backward(Rows::rows(d), view(dweight.data(), {D}),
                       output ? Rows::rows(again) : TensorView{}, Rows::rows(dz), Rows::rows(a.x),
                       view(a.weight.data(), {D}), view(inv_rms.data(), {N}), kEps, a.stream);
    if (output) {
      EXPECT_EQ(again, y);
    }
    std::vector<double> unused(N);
    const auto loss = [&] { return weighted_sum(a.forward(unused), dy); };
    expect_gradient("x", a.x, d, loss);
    expect_gradient("z", a.z, dz, loss);
    expect_gradient("weight", a.weight, dweight, loss);
  }
}

TEST(NormGateTest, ChecksItsOperands) {
  Rows a;
  std::vector<double> y(N * D), inv_rms(N);
  const auto run = [&](TensorView out, TensorView x, TensorView z, double eps) {
    norm_gate(out, view(inv_rms.data(), {N}), x, view(a.weight.data(), {D}), z, eps, a.stream);
  };
  const TensorView x = Rows::rows(a.x), z = Rows::rows(a.z), out = Rows::rows(y);
  EXPECT_THROW(run(x, x, z, kEps), Error);
  EXPECT_THROW(run(z, x, z, kEps), Error);
  EXPECT_THROW(run(out, x, z, 0), Error);
  EXPECT_THROW(run(out, x, z.slice(0, 0, 4), kEps), Error);
  EXPECT_THROW(run(out, x.reshape({N, 3, 4}), z, kEps), Error);
}

}  // namespace
}  // namespace halo::kernels
