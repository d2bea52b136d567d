#include "kernels/matmul.h"

#include <cmath>
#include <tuple>

#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

struct Case {
  std::int64_t M, N, K;
  bool transpose_a, transpose_b;
  double alpha, beta;
};

/// A matrix of rows `stride` apart, for the views of a test.
template <class T>
struct Matrix {
  std::vector<T> values;
  std::int64_t rows, columns, stride;
  Matrix(std::int64_t m, std::int64_t n, std::string_view name, std::int64_t padding = 0)
      : values(random_values<T>(m * (n + padding), name)),
        rows(m),
        columns(n),
        stride(n + padding) {}
  [[nodiscard]] double at(std::int64_t i, std::int64_t j, bool transpose) const {
    return static_cast<double>(
        values[static_cast<std::size_t>(transpose ? j * stride + i : i * stride + j)]);
  }
  [[nodiscard]] TensorView view() {
    TensorView v = halo::view(values.data(), {rows, columns});
    v.strides[0] = stride;
    return v;
  }
};

template <class T>
void expect_product(const Case& x, int threads, std::int64_t padding) {
  SCOPED_TRACE(str(x.M, " x ", x.N, " x ", x.K, x.transpose_a ? " T" : " N",
                   x.transpose_b ? "T" : "N", " alpha ", x.alpha, " beta ", x.beta, " threads ",
                   threads));
  Matrix<T> a(x.transpose_a ? x.K : x.M, x.transpose_a ? x.M : x.K, "a", padding);
  Matrix<T> b(x.transpose_b ? x.N : x.K, x.transpose_b ? x.K : x.N, "b", padding);
  Matrix<T> c(x.M, x.N, "c", padding);
  const Matrix<T> before = c;
  if (x.beta == 0) c.values = poisoned<T>(std::ssize(c.values));
  Stream stream(threads);
  matmul(c.view(), a.view(), b.view(), {x.transpose_a, x.transpose_b, x.alpha, x.beta}, stream);
  // Each of K additions of products near 1 in size rounds by eps / 2 of a partial sum below 4 sqrt(K).
  const double tolerance = static_cast<double>(std::numeric_limits<T>::epsilon()) *
                           (8 + 4 * static_cast<double>(x.K)) * std::abs(x.alpha);
  for (std::int64_t m = 0; m < x.M; ++m) {
    for (std::int64_t n = 0; n < x.N; ++n) {
      double sum = 0;
      for (std::int64_t k = 0; k < x.K; ++k)
        sum += a.at(m, k, x.transpose_a) * b.at(k, n, x.transpose_b);
      const double old = x.beta == 0 ? 0.0 : x.beta * before.at(m, n, false);
      ASSERT_NEAR(c.at(m, n, false), x.alpha * sum + old, tolerance + 1e-300)
          << "row " << m << " column " << n;
    }
  }
}

TEST(MatmulTest, MatchesThePlainSumForEveryTransposeAndOddSize) {
  const std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>> sizes = {
      {1, 1, 1}, {1, 65, 33}, {65, 1, 7}, {3, 5, 600}, {64, 64, 64}, {131, 67, 259}};
  for (const auto& [M, N, K] : sizes) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const double beta : {0.0, 1.0}) {
          expect_product<float>({M, N, K, ta, tb, 1.0, beta}, 2, 3);
          expect_product<double>({M, N, K, ta, tb, 1.0, beta}, 2, 3);
        }
      }
    }
  }
  expect_product<float>({33, 47, 300, true, false, -0.5, 2.0}, 3, 0);
  expect_product<double>({33, 47, 300, true, false, -0.5, 2.0}, 3, 0);
}

TEST(MatmulTest, MatchesThePlainSumWhereSidesAreCutCopiedOrGivenToTheOtherLibrary) {
  // More rows than a tile, deeper than one, rows less and more than a page apart, two threads and one.
  for (const std::int64_t padding : {0, 500}) {
    for (const int threads : {1, 2}) {
      expect_product<float>({600, 70, 700, true, false, 0.5, 1.0}, threads, padding);
      expect_product<float>({600, 640, 64, true, false, 1.0, 0.0}, threads, padding);
      expect_product<float>({600, 70, 1030, false, false, 1.0, 0.0}, threads, padding);
      expect_product<float>({70, 600, 700, true, true, 1.0, 0.0}, threads, padding);
      expect_product<float>({1100, 40, 30, false, true, 1.0, 1.0}, threads, padding);
    }
  }
}

TEST(MatmulTest, ScalesTheOldValueWhenThereIsNothingToAdd) {
  Stream stream(2);
  std::vector<double> c = {1, 2, 3, 4, 5, 6};
  const TensorView nothing = view<double>(nullptr, {2, 0});
  const TensorView nothing_else = view<double>(nullptr, {0, 3});
  matmul(view(c.data(), {2, 3}), nothing, nothing_else, {.beta = 2.0}, stream);
  EXPECT_EQ(c, (std::vector<double>{2, 4, 6, 8, 10, 12}));
  c.assign(6, std::nan(""));
  matmul(view(c.data(), {2, 3}), nothing, nothing_else, {.beta = 0.0}, stream);
  EXPECT_EQ(c, std::vector<double>(6, 0.0));
  std::vector<double> a(4, 1.0);
  matmul(view<double>(nullptr, {0, 2}), nothing_else.reshape({0, 2}), view(a.data(), {2, 2}), {},
         stream);
}

TEST(MatmulTest, GivesTheSameBitsAgainOnAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3, 4}) {
    Stream stream(threads);
    Matrix<float> a(200, 300, "a"), b(300, 100, "b"), first(200, 100, "c"), again(200, 100, "d");
    matmul(first.view(), a.view(), b.view(), {}, stream);
    matmul(again.view(), a.view(), b.view(), {}, stream);
    EXPECT_EQ(first.values, again.values) << threads;
  }
}

TEST(MatmulTest, LinearAndItsBackwardAreTheThreeProductsOfAProjection) {
  constexpr std::int64_t N = 5, I = 7, O = 3;
  Stream stream(2);
  std::vector<double> x = random_values(N * I, "x"), weight = random_values(O * I, "weight");
  std::vector<double> dy = random_values(N * O, "dy"), y = poisoned(N * O);
  const auto loss = [&] {
    linear(view(y.data(), {N, O}), view(x.data(), {N, I}), view(weight.data(), {O, I}), stream);
    return weighted_sum(y, dy);
  };
  std::vector<double> dx = poisoned(N * I), dweight = poisoned(O * I);
  linear_backward_input(view(dx.data(), {N, I}), view(dy.data(), {N, O}),
                        view(weight.data(), {O, I}), false, stream);
  linear_backward_weight(view(dweight.data(), {O, I}), view(dy.data(), {N, O}),
                         view(x.data(), {N, I}), false, stream);
  expect_gradient("x", x, dx, loss);
  expect_gradient("weight", weight, dweight, loss);
  std::vector<double> twice = dx;
  linear_backward_input(view(twice.data(), {N, I}), view(dy.data(), {N, O}),
                        view(weight.data(), {O, I}), true, stream);
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(twice[i], 2 * dx[i], 1e-14);
  twice = dweight;
  linear_backward_weight(view(twice.data(), {O, I}), view(dy.data(), {N, O}),
                         view(x.data(), {N, I}), true, stream);
  for (std::size_t i = 0; i < dweight.size(); ++i) EXPECT_NEAR(twice[i], 2 * dweight[i], 1e-14);
}

TEST(MatmulTest, LinearAddsToAnother) {
  constexpr std::int64_t N = 37, I = 19, O = 23;
  Stream stream(2);
  Matrix<double> x(N, I, "x"), weight(O, I, "weight"), addend(N, O, "addend"), y(N, O, "y");
  Matrix<double> expected(N, O, "expected");
  linear(expected.view(), x.view(), weight.view(), stream);
  for (std::size_t i = 0; i < expected.values.size(); ++i) expected.values[i] += addend.values[i];
  const std::vector<double> before = addend.values;
  linear(y.view(), x.view(), weight.view(), stream, addend.view());
  EXPECT_EQ(addend.values, before);
  for (std::size_t i = 0; i < y.values.size(); ++i)
    EXPECT_NEAR(y.values[i], expected.values[i], 1e-13);
  linear(addend.view(), x.view(), weight.view(), stream, addend.view());
  EXPECT_EQ(addend.values, y.values);
}

TEST(MatmulTest, RefusesWhatDoesNotFit) {
  Stream stream(1);
  std::vector<float> f(64);
  std::vector<double> d(64);
  const auto matrix = [&](std::int64_t m, std::int64_t n) { return view(f.data(), {m, n}); };
  EXPECT_THROW(matmul(matrix(2, 3), matrix(2, 4), matrix(5, 3), {}, stream), Error);
  EXPECT_THROW(matmul(matrix(2, 4), matrix(2, 4), matrix(4, 3), {}, stream), Error);
  EXPECT_THROW(matmul(matrix(2, 3), matrix(2, 4), view(d.data(), {4, 3}), {}, stream), Error);
  EXPECT_THROW(matmul(view(f.data(), {6}), matrix(2, 4), matrix(4, 3), {}, stream), Error);
  EXPECT_THROW(matmul(matrix(2, 3), matrix(2, 4), matrix(4, 3), {.beta = 1}, stream, matrix(3, 2)),
               Error);
  std::vector<float> other(64);
  EXPECT_THROW(matmul(matrix(2, 3), view(other.data(), {2, 4}), view(other.data(), {4, 3}),
                      {.beta = 1}, stream, matrix(2, 3).slice(0, 0, 1).reshape({1, 3})),
               Error);
  TensorView gaps = matrix(4, 3);
  gaps.strides[1] = 2;
  EXPECT_THROW(matmul(matrix(2, 3), matrix(2, 4), gaps, {}, stream), Error);
  TensorView repeated = matrix(4, 3);
  repeated.strides[0] = 0;
  EXPECT_THROW(matmul(matrix(2, 3), matrix(2, 4), repeated, {}, stream), Error);
  std::vector<std::int32_t> ids(4);
  const TensorView whole_numbers = view(ids.data(), {2, 2});
  EXPECT_THROW(matmul(whole_numbers, whole_numbers, whole_numbers, {}, stream), Error);
}

}  // namespace
}  // namespace halo::kernels
