#include "kernels/optimizer.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

class OptimizerCudaTest : public OnGpu {
 protected:
  /// Values on the GPU, `shift` elements behind aligned memory.
  struct Shifted {
    Tensor memory;
    TensorView view;
  };
  Shifted place(std::vector<float> values, DType dtype, std::int64_t shift) {
    values.insert(values.begin(), static_cast<std::size_t>(shift), 0.0f);
    const std::int64_t end = std::ssize(values);
    Tensor memory = up(values, {end}, dtype);
    const TensorView view = memory.view().slice(0, shift, end);
    return {std::move(memory), view};
  }
  static AdamWStep step_at(std::int64_t t) {
    return {.lr = 1e-3 * static_cast<double>(t), .weight_decay = 0.1, .t = t, .grad_scale = 0.7};
  }
  static TensorView flat(std::vector<float>& values) {
    return view(values.data(), {std::ssize(values)});
  }
};

TEST_F(OptimizerCudaTest, AdamWEqualsTheCpus) {
  for (const std::int64_t n : {0, 1, 7, 65, 9001}) {
    std::vector<float> aligned_master;
    for (const std::int64_t shift : {0, 1}) {
      auto master = random(n, "master", DType::kFloat32);
      std::vector<float> m(master.size()), v(master.size());
      const Shifted w_up = place(master, DType::kFloat32, shift);
      const Shifted m_up = place(m, DType::kFloat32, shift),
                    v_up = place(v, DType::kFloat32, shift);
      for (std::int64_t t = 1; t <= 4; ++t) {
        auto grad = random(n, str("gradient ", t), DType::kFloat32);
        adamw(flat(master), flat(m), flat(v), flat(grad), step_at(t), cpu_);
        const Shifted grad_up = place(grad, DType::kFloat32, shift);
        adamw(w_up.view, m_up.view, v_up.view, grad_up.view, step_at(t), gpu_);
      }
      // Four steps of a few roundings each, which may fall otherwise where sums are fused.
      expect_near(down(w_up.view), master, 1e-6, str("master ", n, '+', shift));
      expect_near(down(m_up.view), m, 1e-6, str("m ", n, '+', shift));
      expect_near(down(v_up.view), v, 1e-6, str("v ", n, '+', shift));
      if (shift == 0) aligned_master = down(w_up.view);
      EXPECT_EQ(down(w_up.view), aligned_master);
    }
  }
}

TEST_F(OptimizerCudaTest, ZeroGradientsDivideNothingByZero) {
  const std::vector<float> zeros(7);
  const auto before = random(7, "master", DType::kFloat32);
  const Tensor master = up(before, {7}), m = up(zeros, {7}), v = up(zeros, {7});
  adamw(master, m, v, up(zeros, {7}), {.lr = 0.1, .t = 1}, gpu_);
  EXPECT_EQ(down(master), before);
  const Tensor wide = up(std::vector<double>(2), {2}), other = up(std::vector<double>(2), {2});
  const Tensor third = up(std::vector<double>(2), {2}), grad = up(std::vector<double>(2), {2});
  EXPECT_THROW(adamw(wide, other, third, grad, {.lr = 0.1, .t = 1}, gpu_), Error);
}

TEST_F(OptimizerCudaTest, SumsOfSquaresEqualTheCpusAndDependOnTheLengthAlone) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const std::int64_t n : {0, 1, 7, 4097, 100003, 5000011}) {
      auto x = random(n, "x", dtype);
      const double expected = sum_of_squares(flat(x), cpu_);
      const Shifted in_packs = place(x, dtype, 0), one_by_one = place(x, dtype, 1);
      const double sum = sum_of_squares(in_packs.view, gpu_);
      EXPECT_NEAR(sum, expected, 1e-13 * expected) << n;  // float64 sums in another order
      EXPECT_EQ(sum_of_squares(one_by_one.view, gpu_), sum) << n;
    }
  }
  const std::vector<float> large(5000, 1e30f);  // float32 squares would overflow
  EXPECT_NEAR(sum_of_squares(up(large, {5000}), gpu_) / 5e63, 1, 1e-6);
}

TEST_F(OptimizerCudaTest, CountsNonfinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const std::int64_t shift : {0, 1}) {
      std::vector<float> x(9001, 1.5f);
      EXPECT_EQ(count_nonfinite(place(x, dtype, shift).view, gpu_), 0);
      x[0] = kInfinity;
      x[4096] = -kInfinity;
      x[9000] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_EQ(count_nonfinite(place(x, dtype, shift).view, gpu_), 3);
    }
    EXPECT_EQ(count_nonfinite(poisoned({100001}, dtype), gpu_), 100001);
    EXPECT_EQ(count_nonfinite(poisoned({0}, dtype), gpu_), 0);
  }
  const std::vector<float> edges{std::numeric_limits<float>::max(),
                                 -std::numeric_limits<float>::max(),
                                 std::numeric_limits<float>::denorm_min(), 0.0f};
  EXPECT_EQ(count_nonfinite(up(edges, {4}), gpu_), 0);
}

TEST_F(OptimizerCudaTest, CastsRoundToNearestEven) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const std::int64_t n : {0, 1, 4, 9001}) {
    auto x = random(n, "x", DType::kFloat32);
    const std::vector<float> edges{
        1 + 0x1p-8f,  1 + 0x1p-8f + 0x1p-7f,
        -1 - 0x1p-8f, kInfinity,
        -kInfinity,   std::numeric_limits<float>::max(),
        0x1p-140f,    0.0f};  // ties, what rounds to infinity and what bfloat16 holds as subnormal
    if (n > 8) std::copy(edges.begin(), edges.end(), x.begin() + 5);
    std::vector<float> expected;
    for (const float value : x) expected.push_back(static_cast<float>(BFloat16(value)));
    for (const std::int64_t shift : {0, 1}) {
      const Shifted from = place(x, DType::kFloat32, shift);
      const Shifted half = place(x, DType::kBFloat16, shift);
      const Tensor narrow = poisoned({n}, DType::kBFloat16), wide = poisoned({n}, DType::kFloat32);
      cast(narrow, from.view, gpu_);
      EXPECT_EQ(down(narrow), expected) << n << '+' << shift;
      cast(wide, half.view, gpu_);
      EXPECT_EQ(down(wide), expected) << n << '+' << shift;
      cast(wide, from.view, gpu_);
      EXPECT_EQ(down(wide), x) << n << '+' << shift;
    }
  }
  const Tensor narrow = Tensor::zeros(gpu_, {3}, DType::kBFloat16);
  cast(narrow, poisoned({3}, DType::kFloat32), gpu_);
  for (const float value : down(narrow)) EXPECT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace halo::kernels
