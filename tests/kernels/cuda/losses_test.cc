#include "kernels/losses.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

constexpr double kLossScale = 0.37;
// Float32 exponentials good to 2 units and sums of up to some hundred of them in each thread, in another order.
constexpr double kLossBound = 1e-5;

/// Losses are made of float32 terms whatever the logits' dtype; a gradient is rounded once to it: bfloat16 has 8 bits.
double gradient_bound(DType dtype) { return kLossBound + (dtype == DType::kBFloat16 ? 0x1p-8 : 0); }

constexpr DType kLossTypes[] = {DType::kFloat32, DType::kBFloat16};
constexpr std::pair<std::int64_t, std::int64_t> kLossShapes[] = {
    {1, 1}, {131, 1}, {1, 131}, {63, 131}, {131, 1024}, {63, 32003}, {3, 32000}, {2, 151936}};

std::string name_of(std::string_view op, std::int64_t N, std::int64_t V, DType dtype) {
  return str(op, " N=", N, " V=", V, ' ', dtype_name(dtype));
}

/// About one in three does not count.
std::vector<std::uint8_t> some_counted(std::int64_t N) {
  const CounterRng rng(1, "counted");
  std::vector<std::uint8_t> counted;
  for (std::int64_t n = 0; n < N; ++n)
    counted.push_back(rng.below(3, static_cast<std::uint64_t>(n)) == 0 ? 0 : 1);
  return counted;
}

/// -1 for about one in four.
std::vector<std::int32_t> some_labels(std::int64_t N, std::int64_t V) {
  const CounterRng rng(1, "labels");
  std::vector<std::int32_t> labels;
  for (std::uint64_t n = 0; n < static_cast<std::uint64_t>(N); ++n) {
    const auto label = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(V), 2 * n));
    labels.push_back(rng.below(4, 2 * n + 1) == 0 ? -1 : label);
  }
  return labels;
}

class LossesCudaTest : public OnGpu {
 protected:
  static TensorView rows(std::vector<float>& values, std::int64_t N) {
    return view(values.data(), {N, static_cast<std::int64_t>(values.size()) / N});
  }
  static void expect_loss(double actual, double expected, const std::string& name) {
    EXPECT_NEAR(actual, expected, kLossBound * std::fabs(expected)) << name;
  }

  /// kl_loss of float32 rows beside the CPU's in float64.
  void expect_exact_kl(const std::vector<float>& student, const std::vector<float>& teacher,
                       std::int64_t N, double loss_bound, double gradient_bound,
                       const std::string& name) {
    const Shape shape{N, static_cast<std::int64_t>(student.size()) / N};
    std::vector<double> z(student.begin(), student.end()), y(teacher.begin(), teacher.end());
    const double expected =
        kl_loss(view(z.data(), shape), view(y.data(), shape), {}, kLossScale, cpu_);
    const Tensor gpu_z = up(student, shape), gpu_y = up(teacher, shape);
    EXPECT_NEAR(kl_loss(gpu_z, gpu_y, {}, kLossScale, gpu_), expected, loss_bound * expected)
        << name;
    expect_near(down(gpu_z), std::vector<float>(z.begin(), z.end()), gradient_bound, name);
    EXPECT_EQ(down(gpu_y), teacher) << name;
  }
};

TEST_F(LossesCudaTest, MseEqualsTheCpus) {
  for (const DType dtype : kLossTypes) {
    for (const std::int64_t N : {1, 63, 131}) {
      for (const std::int64_t D : {1, 33, 64, 131, 2048, 4100}) {
        const std::string name = name_of("mse", N, D, dtype);
        auto student = random(N * D, "student", dtype), teacher = random(N * D, "teacher", dtype);
        auto counted = some_counted(N);
        const Tensor s = up(student, {N, D}, dtype), t = up(teacher, {N, D}, dtype);
        const Tensor gradient = poisoned({N, D}, dtype), mask = up(counted, {N});
        const double loss = mse_loss(gradient, s, t, mask, kLossScale, gpu_);
        const double all = mse_loss(s, s, t, {}, kLossScale, gpu_);
        auto expected = student;
        // The same float32 differences, squared and added in float64.
        EXPECT_NEAR(loss,
                    mse_loss(rows(expected, N), rows(student, N), rows(teacher, N),
                             view(counted.data(), {N}), kLossScale, cpu_),
                    1e-12 * static_cast<double>(N * D))
            << name;
        expect_near(down(gradient), expected, gradient_bound(dtype), name);
        EXPECT_NEAR(
            all,
            mse_loss(rows(student, N), rows(student, N), rows(teacher, N), {}, kLossScale, cpu_),
            1e-12 * static_cast<double>(N * D))
            << name;
        expect_near(down(s), student, gradient_bound(dtype), name + " in place");
      }
    }
  }
}

TEST_F(LossesCudaTest, KlEqualsTheCpus) {
  for (const DType dtype : kLossTypes) {
    for (const auto& [N, V] : kLossShapes) {
      const std::string name = name_of("kl", N, V, dtype);
      auto student = random(N * V, "student", dtype), teacher = random(N * V, "teacher", dtype);
      auto counted = some_counted(N);
      for (const bool masked : {false, true}) {
        const Tensor z = up(student, {N, V}, dtype), y = up(teacher, {N, V}, dtype);
        const Tensor gpu_mask = masked ? up(counted, {N}) : Tensor();
        const double loss = kl_loss(z, y, gpu_mask, kLossScale, gpu_);
        auto expected = student;
        const TensorView mask = masked ? view(counted.data(), {N}) : TensorView();
        expect_loss(loss, kl_loss(rows(expected, N), rows(teacher, N), mask, kLossScale, cpu_),
                    name);
        expect_near(down(z), expected, gradient_bound(dtype), name);
        EXPECT_EQ(down(y), teacher) << name;

        const Tensor again = up(student, {N, V}, dtype);
        EXPECT_EQ(kl_loss(again, y, gpu_mask, kLossScale, gpu_), loss) << "bits repeat " << name;
        EXPECT_EQ(down(again), down(z)) << "bits repeat " << name;
      }
    }
  }
}

/// Also where threads follow rising logits: those of ten times the size pass e^8 often.
TEST_F(LossesCudaTest, KlOfEqualLogitsIsExactlyZero) {
  for (const DType dtype : kLossTypes) {
    for (const auto& [N, V] : kLossShapes) {
      for (const float size : {1.0f, 10.0f, 1000.0f}) {
        auto logits = random(N * V, "logits", dtype);
        for (float& x : logits) x *= size;
        const Tensor z = up(logits, {N, V}, dtype), y = up(logits, {N, V}, dtype);
        EXPECT_EQ(kl_loss(z, y, {}, kLossScale, gpu_), 0) << name_of("kl", N, V, dtype);
        for (const float gradient : down(z)) ASSERT_EQ(gradient, 0) << name_of("kl", N, V, dtype);
      }
    }
  }
}

/// The plain form A / Z_t - ln Z_t + ln Z_s would leave nothing of a float32 divergence of 1e-9.
TEST_F(LossesCudaTest, KlOfNearLogitsKeepsItsDigits) {
  for (const double distance : {3e-5, 1e-3, 0.1, 0.6}) {
    for (const float size : {1.0f, 10.0f}) {
      for (const auto& [N, V] : {std::pair<std::int64_t, std::int64_t>{7, 1000}, {3, 32003}}) {
        const auto noise = random(N * V, "noise", DType::kFloat32);
        auto teacher = random(N * V, "teacher", DType::kFloat32);
        for (float& x : teacher) x *= size;
        auto student = teacher;
        for (std::size_t i = 0; i < student.size(); ++i)
          student[i] += static_cast<float>(distance) * noise[i];
        // y - z is exact, so the loss keeps float32's digits; fewer where one logit outweighs the rest, since the terms
        // are then larger than their sum. The gradient's exponentials have arguments that are rounded to 2^-22.
        expect_exact_kl(student, teacher, N, size * kLossBound,
                        size * 2e-6 / std::min(1.0, distance) + kLossBound,
                        str("distance ", distance, " size ", size, " V=", V));
      }
    }
  }
}

/// A flat teacher against a peaked student and the other way round: the sums' ratio is far from 1, and of the threads
/// only one sees the peak.
TEST_F(LossesCudaTest, KlOfFarDistributions) {
  for (const std::int64_t V : {8192, 8191}) {
    for (const std::size_t peak : {std::size_t{0}, std::size_t{17}, std::size_t{8000}}) {
      std::vector<float> flat(static_cast<std::size_t>(V)), peaked(flat.size());
      peaked[peak] = 30;
      expect_exact_kl(peaked, flat, 1, kLossBound, kLossBound,
                      str("peaked student V=", V, " at ", peak));
      expect_exact_kl(flat, peaked, 1, kLossBound, kLossBound,
                      str("peaked teacher V=", V, " at ", peak));
    }
  }
}

TEST_F(LossesCudaTest, HugeLogitsStayFinite) {
  auto student = random(2 * 257, "student", DType::kFloat32);
  auto teacher = random(2 * 257, "teacher", DType::kFloat32);
  for (float& x : student) x *= 10000;
  for (float& x : teacher) x *= 10000;
  // Exponents of 1e4 are known to 6e-8 * 1e4.
  expect_exact_kl(student, teacher, 2, kLossBound, 2e-3, "huge");
}

TEST_F(LossesCudaTest, RowsThatDoNotCountMayHoldAnything) {
  for (const DType dtype : kLossTypes) {
    auto student = random(3 * 257, "student", dtype), teacher = random(3 * 257, "teacher", dtype);
    std::fill_n(student.begin() + 257, 257, std::nanf(""));
    const Tensor z = up(student, {3, 257}, dtype), y = up(teacher, {3, 257}, dtype);
    const Tensor x = up(student, {3, 257}, dtype), d = poisoned({3, 257}, dtype);
    const Tensor mask = up(std::vector<std::uint8_t>{1, 0, 1}, {3});
    const Tensor labels = up(std::vector<std::int32_t>{5, -1, 256}, {3});
    EXPECT_TRUE(std::isfinite(kl_loss(z, y, mask, 1, gpu_)));
    EXPECT_TRUE(std::isfinite(mse_loss(d, x, y, mask, 1, gpu_)));
    EXPECT_TRUE(std::isfinite(ce_loss(x, labels, 1, false, gpu_)));
    EXPECT_TRUE(std::isfinite(ce_loss(x, labels, 1, true, gpu_)));
    for (const TensorView& gradient : {z.view(), x.view(), d.view()}) {
      for (const float value : down(gradient.slice(0, 1, 2))) ASSERT_EQ(value, 0);
      EXPECT_NE(down(gradient.slice(0, 2, 3))[7], 0);
    }
  }
}

TEST_F(LossesCudaTest, NaNLogitsGiveNaN) {
  for (const std::size_t place : {std::size_t{0}, std::size_t{100}, std::size_t{256}}) {
    auto logits = random(257, "logits", DType::kFloat32);
    const Tensor y = up(logits, {1, 257});
    logits[place] = std::nanf("");
    const Tensor z = up(logits, {1, 257}), label = up(std::vector<std::int32_t>{3}, {1});
    EXPECT_TRUE(std::isnan(ce_loss(z, label, 1, false, gpu_)));
    const Tensor other = Tensor::copy_of(gpu_, y);
    EXPECT_TRUE(std::isnan(kl_loss(other, z, {}, 1, gpu_)));
    EXPECT_TRUE(std::isnan(kl_loss(z, y, {}, 1, gpu_)));
  }
}

TEST_F(LossesCudaTest, CrossEntropyEqualsTheCpus) {
  for (const DType dtype : kLossTypes) {
    for (const auto& [N, V] : kLossShapes) {
      for (const float size : {1.0f, 16.0f}) {  // a power of two: still exact in dtype
        const std::string name = name_of("ce", N, V, dtype) + str(" size ", size);
        auto logits = random(N * V, "logits", dtype);
        for (float& x : logits) x *= size;
        auto labels = some_labels(N, V);
        const Tensor z = up(logits, {N, V}, dtype), gpu_labels = up(labels, {N});
        const double loss = ce_loss(z, gpu_labels, kLossScale, false, gpu_);
        EXPECT_EQ(down(z), logits) << name;
        EXPECT_EQ(ce_loss(z, gpu_labels, kLossScale, true, gpu_), loss) << name;
        expect_loss(
            loss, ce_loss(rows(logits, N), view(labels.data(), {N}), kLossScale, true, cpu_), name);
        expect_near(down(z), logits, gradient_bound(dtype), name);
      }
    }
  }
}

TEST_F(LossesCudaTest, LabelsOutsideTheVocabularyAreRefused) {
  const Tensor logits = up(random(3 * 5, "logits", DType::kFloat32), {3, 5});
  for (const std::int32_t bad : {5, -2}) {
    const Tensor labels = up(std::vector<std::int32_t>{4, bad, 7}, {3});
    const Tensor losses = poisoned({3}, DType::kFloat64);
    try {
      ce_loss(logits, labels, 1, false, gpu_);
      ADD_FAILURE() << "no Error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(str("label ", bad, " of row 1 is outside [-1, 5)")),
                std::string::npos)
          << error.what();
    }
    EXPECT_THROW(ce_loss(logits, labels, 1, true, gpu_), Error);
    EXPECT_THROW(token_log_likelihood(losses, {}, logits, labels, gpu_), Error);
  }
}

TEST_F(LossesCudaTest, TokenLogLikelihoodEqualsTheCpus) {
  for (const DType dtype : kLossTypes) {
    for (const auto& [N, V] : kLossShapes) {
      const std::string name = name_of("token", N, V, dtype);
      auto logits = random(N * V, "logits", dtype);  // in bfloat16 with ties
      if (V > 100) logits[40] = logits[90] = 9;
      auto labels = some_labels(N, V);
      std::vector<double> losses(static_cast<std::size_t>(N));
      std::vector<std::int32_t> greedy(losses.size());
      token_log_likelihood(view(losses.data(), {N}), view(greedy.data(), {N}), rows(logits, N),
                           view(labels.data(), {N}), cpu_);

      const Tensor z = up(logits, {N, V}, dtype), gpu_labels = up(labels, {N});
      const Tensor gpu_losses = poisoned({N}, DType::kFloat64),
                   alone = poisoned({N}, DType::kInt32);
      const Tensor gpu_greedy = poisoned({N}, DType::kInt32);
      token_log_likelihood(gpu_losses, gpu_greedy, z, gpu_labels, gpu_);
      EXPECT_EQ(down<std::int32_t>(gpu_greedy), greedy) << name;
      const auto found = down<double>(gpu_losses);
      for (std::size_t n = 0; n < losses.size(); ++n) expect_loss(found[n], losses[n], name);
      token_log_likelihood({}, alone, z, {}, gpu_);
      EXPECT_EQ(down<std::int32_t>(alone), greedy) << name;
      const Tensor again = poisoned({N}, DType::kFloat64);
      token_log_likelihood(again, {}, z, gpu_labels, gpu_);
      EXPECT_EQ(down<double>(again), found) << name;
    }
  }
}

TEST_F(LossesCudaTest, NoRowsLoseNothing) {
  const Tensor a(gpu_, {0, 7}, DType::kBFloat16), b(gpu_, {0, 7}, DType::kBFloat16);
  const Tensor labels(gpu_, {0}, DType::kInt32);
  EXPECT_EQ(mse_loss(a, a, b, {}, 1, gpu_), 0);
  EXPECT_EQ(kl_loss(a, b, {}, 1, gpu_), 0);
  EXPECT_EQ(ce_loss(a, labels, 1, true, gpu_), 0);
}

}  // namespace
}  // namespace halo::kernels
