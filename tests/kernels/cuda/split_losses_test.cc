#include "kernels/split_losses.h"

#include <array>

#include "kernels/losses.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

constexpr double kPartScale = 0.37;
constexpr double kPartBound = 1e-5;   // float32 terms, in another order than the CPU's
constexpr double kOneRound = 0x1p-8;  // to bfloat16, whose significand has 8 bits

constexpr DType kPartTypes[] = {DType::kFloat32, DType::kBFloat16};
constexpr std::pair<std::int64_t, std::int64_t> kPartShapes[] = {
    {1, 1}, {1, 131}, {63, 131}, {131, 1024}, {63, 32003}, {3, 32000}};

class SplitLossesCudaTest : public OnGpu {
 protected:
  static double rounding(DType dtype) { return dtype == DType::kBFloat16 ? kOneRound : 0; }
  static TensorView rows(std::vector<float>& values, std::int64_t N) {
    return view(values.data(), {N, static_cast<std::int64_t>(values.size()) / N});
  }
  static std::string name_of(std::int64_t N, std::int64_t V, DType dtype) {
    return str("N=", N, " V=", V, ' ', dtype_name(dtype));
  }
  static std::vector<float> converted(const std::vector<double>& x) { return {x.begin(), x.end()}; }

  /// Rounding of the exponentials, of which `terms` are what they contribute to a gradient, and of the gradient itself.
  static void expect_gradient_of_rounded(const std::vector<float>& actual,
                                         const std::vector<float>& expected,
                                         const std::vector<double>& terms, DType dtype,
                                         const std::string& name) {
    double largest = 0;
    for (const float x : expected) largest = std::max(largest, std::fabs(double{x}));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double gradient = std::fabs(double{expected[i]});
      ASSERT_NEAR(
          actual[i], expected[i],
          rounding(dtype) * (1 + 2 * kOneRound) * (terms[i] + gradient) + kPartBound * largest)
          << name << " at " << i;
    }
  }

  /// Columns [begin, end) of rows of V.
  static std::vector<float> columns(const std::vector<float>& whole, std::int64_t V,
                                    std::int64_t begin, std::int64_t end) {
    std::vector<float> part;
    for (auto row = whole.begin(); row != whole.end(); row += V)
      part.insert(part.end(), row + begin, row + end);
    return part;
  }
};

TEST_F(SplitLossesCudaTest, MaximaEqualTheCpus) {
  for (const DType dtype : kPartTypes) {
    for (const auto& [N, V] : kPartShapes) {
      auto logits = random(N * V, "logits", dtype);
      std::vector<float> expected(static_cast<std::size_t>(N));
      row_maxima(view(expected.data(), {N}), rows(logits, N), cpu_);
      const Tensor maxima = poisoned({N}, dtype);
      row_maxima(maxima, up(logits, {N, V}, dtype), gpu_);
      EXPECT_EQ(down(maxima), expected) << name_of(N, V, dtype);
    }
    const Tensor maxima = poisoned({3}, dtype);
    row_maxima(maxima, Tensor(gpu_, {3, 0}, dtype), gpu_);
    EXPECT_EQ(down(maxima), std::vector<float>(3, -INFINITY)) << "no columns";
  }
}

TEST_F(SplitLossesCudaTest, KlEqualsTheCpus) {
  for (const DType dtype : kPartTypes) {
    for (const auto& [N, V] : kPartShapes) {
      const std::string name = name_of(N, V, dtype);
      auto student = random(N * V, "student", dtype), teacher = random(N * V, "teacher", dtype);
      std::vector<float> max_z(static_cast<std::size_t>(N)), max_y(max_z.size());
      std::vector<double> sums(5 * max_z.size());
      std::vector<std::uint8_t> counted(max_z.size(), 1);
      if (N > 1) counted[1] = 0;
      row_maxima(view(max_z.data(), {N}), rows(student, N), cpu_);
      row_maxima(view(max_y.data(), {N}), rows(teacher, N), cpu_);
      const Tensor z = up(student, {N, V}, dtype), y = up(teacher, {N, V}, dtype);
      const Tensor gpu_sums = poisoned({N, 5}, DType::kFloat64), mask = up(counted, {N});
      split_kl_sums(gpu_sums, z, y, up(max_z, {N}, dtype), up(max_y, {N}, dtype), gpu_);
      split_kl_sums(view(sums.data(), {N, 5}), rows(student, N), rows(teacher, N),
                    view(max_z.data(), {N}), view(max_y.data(), {N}), cpu_);
      expect_near(converted(down<double>(gpu_sums)), converted(sums), kPartBound, "sums " + name);
      expect_near(down(z), student, kPartBound + rounding(dtype), "student " + name);
      expect_near(down(y), teacher, kPartBound + rounding(dtype), "teacher " + name);

      std::vector<double> terms;
      for (std::size_t i = 0; i < student.size(); ++i) {
        const double* s = &sums[5 * (i / static_cast<std::size_t>(V))];
        terms.push_back(kPartScale * (double{student[i]} / s[1] + double{teacher[i]} / s[0]));
      }
      const double loss = split_kl_loss(z, y, gpu_sums, mask, kPartScale, gpu_);
      const double expected =
          split_kl_loss(rows(student, N), rows(teacher, N), view(sums.data(), {N, 5}),
                        view(counted.data(), {N}), kPartScale, cpu_);
      EXPECT_NEAR(loss, expected, kPartBound * expected) << name;
      expect_gradient_of_rounded(down(z), student, terms, dtype, name);
    }
  }
}

TEST_F(SplitLossesCudaTest, CrossEntropyEqualsTheCpus) {
  for (const DType dtype : kPartTypes) {
    for (const auto& [N, V] : kPartShapes) {
      for (const bool gradient : {false, true}) {
        const std::string name = name_of(N, V, dtype);
        const VocabularyPart part{11, 2 * V + 11};  // these columns are 11, 12, ... of more
        auto logits = random(N * V, "logits", dtype);
        const auto before = logits;
        std::vector<std::int32_t> labels;
        for (std::int64_t n = 0; n < N; ++n)
          labels.push_back(n == 1 ? -1 : static_cast<std::int32_t>(n * 37 % part.size));
        std::vector<float> maxima(labels.size(), 4.0f);  // of other ranks' columns
        std::vector<double> sums(2 * labels.size());
        const Tensor z = up(logits, {N, V}, dtype), gpu_labels = up(labels, {N});
        const Tensor gpu_sums = poisoned({N, 2}, DType::kFloat64);
        split_ce_sums(gpu_sums, z, gpu_labels, up(maxima, {N}, dtype), part, gradient, gpu_);
        split_ce_sums(view(sums.data(), {N, 2}), rows(logits, N), view(labels.data(), {N}),
                      view(maxima.data(), {N}), part, gradient, cpu_);
        expect_near(converted(down<double>(gpu_sums)), converted(sums), kPartBound, "sums " + name);
        if (gradient) expect_near(down(z), logits, kPartBound + rounding(dtype), name);

        std::vector<double> terms;
        for (std::size_t i = 0; i < logits.size(); ++i)
          terms.push_back(kPartScale * std::fabs(double{logits[i]}) /
                          sums[2 * (i / static_cast<std::size_t>(V))]);
        const double loss =
            split_ce_loss(z, gpu_labels, gpu_sums, part, kPartScale, gradient, gpu_);
        const double expected =
            split_ce_loss(rows(logits, N), view(labels.data(), {N}), view(sums.data(), {N, 2}),
                          part, kPartScale, gradient, cpu_);
        EXPECT_NEAR(loss, expected, kPartBound * std::fabs(expected)) << name;
        if (gradient)
          expect_gradient_of_rounded(down(z), logits, terms, dtype, name);
        else
          EXPECT_EQ(down(z), before) << name;
      }
    }
  }
}

/// Ranks' parts, some without columns, beside kl_loss of all columns on the GPU.
TEST_F(SplitLossesCudaTest, PartsMakeTheWhole) {
  for (const auto& [N, V, ranks] : {std::tuple{3, 131, 3}, {7, 1100, 2}, {2, 3, 5}}) {
    const auto student = random(N * V, "student", DType::kFloat32);
    auto teacher = random(N * V, "teacher", DType::kFloat32);
    const Tensor whole = up(student, {N, V});
    const double expected = kl_loss(whole, up(teacher, {N, V}), {}, kPartScale, gpu_);
    const auto gradient = down(whole);

    const Tensor max_z = poisoned({N}, DType::kFloat32), max_y = poisoned({N}, DType::kFloat32);
    row_maxima(max_z, up(student, {N, V}), gpu_);
    row_maxima(max_y, up(teacher, {N, V}), gpu_);
    std::vector<Tensor> z, y;
    std::vector<double> sums(static_cast<std::size_t>(5 * N));
    for (int r = 0; r < ranks; ++r) {
      const std::int64_t begin = V * r / ranks, end = V * (r + 1) / ranks;
      z.push_back(up(columns(student, V, begin, end), {N, end - begin}));
      y.push_back(up(columns(teacher, V, begin, end), {N, end - begin}));
      const Tensor part = poisoned({N, 5}, DType::kFloat64);
      split_kl_sums(part, z.back(), y.back(), max_z, max_y, gpu_);
      const auto values = down<double>(part);
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
    }
    const Tensor all = up(sums, {N, 5});
    for (int r = 0; r < ranks; ++r) {
      const TensorView part = z[static_cast<std::size_t>(r)];
      EXPECT_NEAR(split_kl_loss(part, y[static_cast<std::size_t>(r)], all, {}, kPartScale, gpu_),
                  expected, kPartBound * expected);
      expect_near(down(part), columns(gradient, V, V * r / ranks, V * (r + 1) / ranks),
                  2 * kPartBound, str("rank ", r, " of ", ranks));
    }
  }
}

TEST_F(SplitLossesCudaTest, EqualLogitsGiveExactlyZero) {
  for (const DType dtype : kPartTypes) {
    for (const std::int64_t V : {301, 32000}) {
      const auto logits = random(4 * V, "logits", dtype);
      const Tensor z = up(logits, {4, V}, dtype), y = up(logits, {4, V}, dtype);
      const Tensor maxima = poisoned({4}, dtype), sums = poisoned({4, 5}, DType::kFloat64);
      row_maxima(maxima, z, gpu_);
      split_kl_sums(sums, z, y, maxima, maxima, gpu_);
      EXPECT_EQ(split_kl_loss(z, y, sums, {}, kPartScale, gpu_), 0.0);
      for (const float x : down(z)) ASSERT_EQ(x, 0);
    }
  }
}

TEST_F(SplitLossesCudaTest, LabelsOutsideTheVocabularyAreRefused) {
  const Tensor logits = up(random(3 * 5, "logits", DType::kFloat32), {3, 5});
  const Tensor labels = up(std::vector<std::int32_t>{4, 9, 10}, {3});
  const Tensor maxima = poisoned({3}, DType::kFloat32), sums = poisoned({3, 2}, DType::kFloat64);
  row_maxima(maxima, logits, gpu_);
  split_ce_sums(sums, logits, labels, maxima, {5, 10}, false, gpu_);
  EXPECT_THROW(static_cast<void>(split_ce_loss(logits, labels, sums, {5, 10}, 1, false, gpu_)),
               Error);
}

}  // namespace
}  // namespace halo::kernels
