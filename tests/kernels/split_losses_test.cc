#include "kernels/split_losses.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/losses.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

constexpr double kScale = 0.37;

/// Columns [begin, end) of rows of V, as one rank of several holds them, and back.
struct Columns {
  std::int64_t begin, end, V;
  template <class T>
  [[nodiscard]] std::vector<T> of(const std::vector<T>& whole) const {
    std::vector<T> part;
    for (std::size_t row = 0; row < whole.size(); row += static_cast<std::size_t>(V))
      part.insert(part.end(), whole.begin() + static_cast<std::ptrdiff_t>(row) + begin,
                  whole.begin() + static_cast<std::ptrdiff_t>(row) + end);
    return part;
  }
  template <class T>
  void put_back(std::vector<T>& whole, const std::vector<T>& part) const {
    const std::int64_t n = end - begin, N = std::ssize(whole) / V;
    for (std::int64_t row = 0; row < N; ++row)
      std::copy_n(part.begin() + row * n, n, whole.begin() + row * V + begin);
  }
};

std::vector<Columns> cuts(std::int64_t V, int ranks) {
  std::vector<Columns> parts;
  for (int r = 0; r < ranks; ++r) parts.push_back({V * r / ranks, V * (r + 1) / ranks, V});
  return parts;
}

template <class T>
struct Part {
  Columns columns;
  std::vector<T> student, teacher, student_maxima, teacher_maxima;
  std::vector<double> sums;
};

template <class T>
class SplitLossesTest : public testing::Test {
 protected:
  static constexpr double kTolerance = std::is_same_v<T, float> ? 2e-6 : 1e-14;
};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(SplitLossesTest, Floats);

template <class T>
void reduce_max(std::vector<Part<T>>& parts, std::vector<T> Part<T>::*maxima) {
  std::vector<T> all = parts.front().*maxima;
  for (const Part<T>& part : parts)
    for (std::size_t n = 0; n < all.size(); ++n) all[n] = std::max(all[n], (part.*maxima)[n]);
  for (Part<T>& part : parts) part.*maxima = all;
}

template <class T>
void reduce_sum(std::vector<Part<T>>& parts) {
  std::vector<double> all(parts.front().sums.size(), 0.0);
  for (const Part<T>& part : parts)
    std::transform(all.begin(), all.end(), part.sums.begin(), all.begin(), std::plus<>());
  for (Part<T>& part : parts) part.sums = all;
}

template <class T>
double largest_difference(const std::vector<T>& a, const std::vector<T>& b) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    difference = std::max(difference, std::isfinite(x) ? std::abs(x - y) : INFINITY);
    largest = std::max(largest, std::abs(y));
  }
  return difference == 0 ? 0 : difference / largest;
}

TYPED_TEST(SplitLossesTest, KlEqualsTheWholeVocabularys) {
  using T = TypeParam;
  Stream stream(2);
  for (const auto& [N, V, ranks] : {std::tuple{3, 131, 3}, {7, 1100, 2}, {2, 3, 5}, {5, 64, 1}}) {
    for (const double near : {1.0, 1e-3}) {
      const auto student = random_values<T>(N * V, "student");
      auto teacher = random_values<T>(N * V, "teacher");
      for (std::size_t i = 0; i < teacher.size(); ++i)
        teacher[i] = student[i] + static_cast<T>(near) * teacher[i];
      std::vector<std::uint8_t> counted(static_cast<std::size_t>(N), 1);
      counted[1] = 0;
      const TensorView mask = view(counted.data(), {N});
      std::vector<Part<T>> parts;
      for (const Columns& columns : cuts(V, ranks)) {
        Part<T> part{columns,        columns.of(student), columns.of(teacher),
                     poisoned<T>(N), poisoned<T>(N),      poisoned<double>(5 * N)};
        const std::int64_t n = columns.end - columns.begin;
        row_maxima(view(part.student_maxima.data(), {N}), view(part.student.data(), {N, n}),
                   stream);
        row_maxima(view(part.teacher_maxima.data(), {N}), view(part.teacher.data(), {N, n}),
                   stream);
        parts.push_back(std::move(part));
      }
      reduce_max(parts, &Part<T>::student_maxima);
      reduce_max(parts, &Part<T>::teacher_maxima);
      const auto rows = [&](std::vector<T>& x) { return view(x.data(), {N, std::ssize(x) / N}); };
      for (Part<T>& part : parts) {
        split_kl_sums(view(part.sums.data(), {N, 5}), rows(part.student), rows(part.teacher),
                      view(part.student_maxima.data(), {N}), view(part.teacher_maxima.data(), {N}),
                      stream);
      }
      reduce_sum(parts);
      auto gradient = student, whole_teacher = teacher;
      const double expected = kl_loss(rows(gradient), rows(whole_teacher), mask, kScale, stream);
      auto found = poisoned<T>(N * V);
      for (Part<T>& part : parts) {
        const double loss = split_kl_loss(rows(part.student), rows(part.teacher),
                                          view(part.sums.data(), {N, 5}), mask, kScale, stream);
        EXPECT_NEAR(loss, expected, this->kTolerance * expected);
        part.columns.put_back(found, part.student);
      }
      EXPECT_LE(largest_difference(found, gradient), this->kTolerance / std::min(1.0, near));
    }
  }
}

TYPED_TEST(SplitLossesTest, CrossEntropyEqualsTheWholeVocabularys) {
  using T = TypeParam;
  Stream stream(2);
  for (const auto& [N, V, ranks] : {std::tuple{3, 131, 3}, {7, 1100, 2}, {2, 3, 5}, {5, 64, 1}}) {
    for (const bool gradient : {true, false}) {
      const auto logits = random_values<T>(N * V, "logits");
      std::vector<std::int32_t> labels;
      for (std::int64_t n = 0; n < N; ++n)
        labels.push_back(n == 1 ? -1 : static_cast<std::int32_t>(n * 37 % V));
      auto expected_logits = logits;
      const auto rows = [&](std::vector<T>& x) { return view(x.data(), {N, std::ssize(x) / N}); };
      const double expected =
          ce_loss(rows(expected_logits), view(labels.data(), {N}), kScale, gradient, stream);
      std::vector<Part<T>> parts;
      for (const Columns& columns : cuts(V, ranks)) {
        Part<T> part{columns, columns.of(logits), {}, poisoned<T>(N), {}, poisoned<double>(2 * N)};
        row_maxima(view(part.student_maxima.data(), {N}), rows(part.student), stream);
        parts.push_back(std::move(part));
      }
      reduce_max(parts, &Part<T>::student_maxima);
      for (Part<T>& part : parts) {
        split_ce_sums(view(part.sums.data(), {N, 2}), rows(part.student), view(labels.data(), {N}),
                      view(part.student_maxima.data(), {N}), {part.columns.begin, V}, gradient,
                      stream);
      }
      reduce_sum(parts);
      auto found = poisoned<T>(N * V);
      for (Part<T>& part : parts) {
        const double loss = split_ce_loss(rows(part.student), view(labels.data(), {N}),
                                          view(part.sums.data(), {N, 2}), {part.columns.begin, V},
                                          kScale, gradient, stream);
        EXPECT_NEAR(loss, expected, this->kTolerance * expected);
        part.columns.put_back(found, part.student);
      }
      EXPECT_LE(largest_difference(found, expected_logits), this->kTolerance);
    }
  }
}

TYPED_TEST(SplitLossesTest, EqualLogitsGiveExactlyZero) {
  using T = TypeParam;
  Stream stream(1);
  constexpr std::int64_t N = 4, V = 301;
  auto student = random_values<T>(N * V, "student"), teacher = student;
  std::vector<T> maxima = poisoned<T>(N);
  std::vector<double> sums = poisoned<double>(5 * N);
  const auto rows = [&](std::vector<T>& x) { return view(x.data(), {N, V}); };
  row_maxima(view(maxima.data(), {N}), rows(student), stream);
  split_kl_sums(view(sums.data(), {N, 5}), rows(student), rows(teacher), view(maxima.data(), {N}),
                view(maxima.data(), {N}), stream);
  EXPECT_EQ(
      split_kl_loss(rows(student), rows(teacher), view(sums.data(), {N, 5}), {}, kScale, stream),
      0.0);
  for (const T x : student) EXPECT_EQ(x, T{0});
}

}  // namespace
}  // namespace halo::kernels
