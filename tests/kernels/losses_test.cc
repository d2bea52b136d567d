#include "kernels/losses.h"

#include <gmock/gmock.h>

#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

using testing::HasSubstr;

constexpr double kScale = 0.25;  // a power of two: no rounding of its own
constexpr std::pair<std::int64_t, std::int64_t> kShapes[] = {{1, 5},  {2, 257}, {7, 1000},
                                                             {65, 5}, {3, 1},   {2, 1025}};

template <class T>
TensorView rows(std::vector<T>& values, std::int64_t N) {
  return view(values.data(), {N, N == 0 ? 1 : std::ssize(values) / N});
}

/// softmax of one row, plainly, and log sum exp.
struct Softmax {
  std::vector<long double> log_p;
  template <class T>
  explicit Softmax(const T* x, std::int64_t V) {
    const long double maximum = *std::max_element(x, x + V);
    long double sum = 0;
    for (std::int64_t i = 0; i < V; ++i) sum += std::exp(static_cast<long double>(x[i]) - maximum);
    for (std::int64_t i = 0; i < V; ++i)
      log_p.push_back(static_cast<long double>(x[i]) - maximum - std::log(sum));
  }
};

/// Loss of each row, gradient of each logit and the sizes of the gradient's terms.
struct Plain {
  std::vector<double> losses, gradient, size;
  [[nodiscard]] double sum() const {
    double total = 0;
    for (const double loss : losses) total += loss;
    return total;
  }
};

template <class T>
Plain plain_kl(const std::vector<T>& student, const std::vector<T>& teacher, std::int64_t N) {
  const std::int64_t V = std::ssize(student) / N;
  Plain plain;
  for (std::int64_t n = 0; n < N; ++n) {
    const Softmax s(student.data() + n * V, V), t(teacher.data() + n * V, V);
    long double loss = 0;
    for (std::size_t i = 0; i < s.log_p.size(); ++i) {
      const long double p = std::exp(t.log_p[i]), q = std::exp(s.log_p[i]);
      const long double l = t.log_p[i] - s.log_p[i];
      // p l, and q - p whose sum is 0.
      loss += std::abs(l) < 1 ? p * (l + std::expm1(-l)) : p * l + (q - p);
      plain.gradient.push_back(static_cast<double>(kScale * (q - p)));
      plain.size.push_back(static_cast<double>(kScale * (q + p)));
    }
    plain.losses.push_back(static_cast<double>(loss));
  }
  return plain;
}

template <class T>
Plain plain_ce(const std::vector<T>& logits, const std::vector<std::int32_t>& labels) {
  const std::int64_t N = std::ssize(labels), V = std::ssize(logits) / N;
  Plain plain;
  for (std::int64_t n = 0; n < N; ++n) {
    const Softmax s(logits.data() + n * V, V);
    const std::int32_t label = labels[static_cast<std::size_t>(n)];
    plain.losses.push_back(
        label < 0 ? 0 : -static_cast<double>(s.log_p[static_cast<std::size_t>(label)]));
    for (std::int64_t i = 0; i < V; ++i) {
      const double p = static_cast<double>(std::exp(s.log_p[static_cast<std::size_t>(i)]));
      const double one = i == label ? 1 : 0;
      plain.gradient.push_back(label < 0 ? 0 : kScale * (p - one));
      plain.size.push_back(kScale * (p + one));
    }
  }
  return plain;
}

std::vector<std::int32_t> random_labels(std::int64_t N, std::int64_t V) {
  const CounterRng rng(1, "labels");  // -1 for about one in four
  std::vector<std::int32_t> labels(static_cast<std::size_t>(N));
  for (std::size_t n = 0; n < labels.size(); ++n) {
    labels[n] =
        rng.below(4, 2 * n) == 0
            ? -1
            : static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(V), 2 * n + 1));
  }
  return labels;
}

template <class T>
class LossesTest : public testing::Test {
 protected:
  static constexpr double kEps = static_cast<double>(std::numeric_limits<T>::epsilon());
  // Half a unit for each of the additions that follow one another: 64 in float32, whose sums are vectors, 1024 in
  // float64, whose exponentials are not.
  static constexpr double kSumUnits = std::is_same_v<T, float> ? 32 : 512;
};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(LossesTest, Floats);

TYPED_TEST(LossesTest, MseSumsSquares) {
  using T = TypeParam;
  Stream stream(2);
  for (const auto& [N, D] : kShapes) {
    auto student = random_values<T>(N * D, "student"), teacher = random_values<T>(N * D, "teacher");
    std::vector<std::uint8_t> counted(static_cast<std::size_t>(N), 1);
    counted[0] = N == 1 ? 1 : 0;
    std::vector<double> expected, size;
    long double loss = 0;
    for (std::int64_t i = 0; i < N * D; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double difference = counted[static_cast<std::size_t>(i / D)] == 0
                                    ? 0
                                    : static_cast<double>(student[at]) - teacher[at];
      loss += difference * difference;
      expected.push_back(2 * kScale * difference);
      size.push_back(std::abs(expected.back()));
    }
    auto gradient = poisoned<T>(N * D);
    const double sum = mse_loss(rows(gradient, N), rows(student, N), rows(teacher, N),
                                flat(counted), kScale, stream);
    // The differences are rounded to T, some hundred of their squares are added in float64.
    EXPECT_NEAR(sum, static_cast<double>(loss),
                (2 * this->kEps + 1e-14) * static_cast<double>(loss));
    expect_within("gradient", gradient, expected, size, 2);
    EXPECT_EQ(mse_loss(rows(student, N), rows(student, N), rows(teacher, N), flat(counted), kScale,
                       stream),
              sum)
        << "in place";
    EXPECT_EQ(student, gradient);
    EXPECT_EQ(mse_loss(rows(gradient, N), rows(teacher, N), rows(teacher, N), {}, 1, stream), 0);
    EXPECT_EQ(gradient, std::vector<T>(gradient.size()));
  }
}

TYPED_TEST(LossesTest, KlEqualsThePlainFormula) {
  using T = TypeParam;
  Stream stream(2);
  for (const auto& [N, V] : kShapes) {
    SCOPED_TRACE(str("N=", N, " V=", V));
    auto student = random_values<T>(N * V, "student"), teacher = random_values<T>(N * V, "teacher");
    const Plain plain = plain_kl(student, teacher, N);
    const double sum = kl_loss(rows(student, N), rows(teacher, N), {}, kScale, stream);
    // Each term p (l + e^-l - 1) is good to a few units; the row's sum is of terms of one sign.
    EXPECT_NEAR(sum, plain.sum(), 16 * this->kEps * (plain.sum() + 0.01 * static_cast<double>(N)));
    // Exponentials of x - m (whose rounding is up to |x - m| < 8 half units of the argument), sums, two products.
    expect_within("gradient", student, plain.gradient, plain.size, 12);
  }
}

TEST(Losses, GradientsAreDerivatives) {
  Stream stream(1);
  for (const auto& [N, V] : kShapes) {
    auto student = random_values(N * V, "student"), teacher = random_values(N * V, "teacher");
    auto gradient = student;
    auto labels = random_labels(N, V);
    kl_loss(rows(gradient, N), rows(teacher, N), {}, kScale, stream);
    expect_gradient("kl", student, gradient, [&] {
      auto copy = student;
      return kScale * kl_loss(rows(copy, N), rows(teacher, N), {}, kScale, stream);
    });
    gradient = student;
    ce_loss(rows(gradient, N), flat(labels), kScale, true, stream);
    expect_gradient("ce", student, gradient, [&] {
      return kScale * ce_loss(rows(student, N), flat(labels), kScale, false, stream);
    });
    mse_loss(rows(gradient, N), rows(student, N), rows(teacher, N), {}, kScale, stream);
    expect_gradient("mse", student, gradient, [&] {
      auto copy = student;
      return kScale * mse_loss(rows(copy, N), rows(copy, N), rows(teacher, N), {}, kScale, stream);
    });
  }
}

TYPED_TEST(LossesTest, KlOfEqualLogitsIsExactlyZero) {
  using T = TypeParam;
  Stream stream(3);
  for (const auto& [N, V] : kShapes) {
    auto teacher = random_values<T>(N * V, "teacher");
    for (T& value : teacher) value *= 10;
    auto student = teacher;
    EXPECT_EQ(kl_loss(rows(student, N), rows(teacher, N), {}, 0.3, stream), 0);
    for (const T gradient : student) ASSERT_EQ(gradient, 0);
  }
}

// The plain form A / Z_t - ln Z_t + ln Z_s would leave nothing of a float32 divergence of 1e-9.
TYPED_TEST(LossesTest, KlOfNearLogitsKeepsItsDigits) {
  using T = TypeParam;
  Stream stream(2);
  for (const double distance : {3e-5, 1e-3, 0.1}) {
    for (const auto& [N, V] : {std::pair<std::int64_t, std::int64_t>{7, 1000}, {2, 257}}) {
      const auto noise = random_values(N * V, "noise");
      auto teacher = random_values<T>(N * V, "teacher"), student = teacher;
      for (std::size_t i = 0; i < student.size(); ++i)
        student[i] += static_cast<T>(distance * noise[i]);
      const Plain plain = plain_kl(student, teacher, N);
      const double sum = kl_loss(rows(student, N), rows(teacher, N), {}, kScale, stream);
      // x - m rounds to 2^-22 / 2 in float32, against differences of `distance`; averaged over the row's terms.
      EXPECT_NEAR(sum, plain.sum(), plain.sum() * 8 * this->kEps / std::min(1.0, distance))
          << "distance " << distance;
    }
  }
}

TYPED_TEST(LossesTest, HugeLogitsStayFinite) {
  using T = TypeParam;
  Stream stream(1);
  auto student = random_values<T>(2 * 257, "student"), teacher = random_values<T>(2 * 257, "t");
  for (T& value : student) value *= 10000;
  for (T& value : teacher) value *= 10000;
  auto logits = student;
  const Plain plain = plain_kl(student, teacher, 2);
  const double sum = kl_loss(rows(student, 2), rows(teacher, 2), {}, kScale, stream);
  EXPECT_NEAR(sum, plain.sum(), 4 * this->kEps * plain.sum());
  // Exponents of 1e4 are known to eps * 1e4.
  expect_within("gradient", student, plain.gradient, plain.size, 2e4);

  std::vector<std::int32_t> labels{256, 0};
  const Plain plain_cross = plain_ce(logits, labels);
  EXPECT_NEAR(ce_loss(rows(logits, 2), flat(labels), kScale, true, stream), plain_cross.sum(),
              4 * this->kEps * plain_cross.sum());
  expect_within("gradient", logits, plain_cross.gradient, plain_cross.size, 2e4);
}

// A flat teacher against a peaked student and the other way round: the sums' ratio is far from 1.
TYPED_TEST(LossesTest, KlOfFarDistributions) {
  using T = TypeParam;
  Stream stream(1);
  for (const bool peaked_student : {false, true}) {
    std::vector<T> flat_logits(8192), peaked(8192);
    peaked[17] = 30;
    auto student = peaked_student ? peaked : flat_logits;
    auto teacher = peaked_student ? flat_logits : peaked;
    const Plain plain = plain_kl(student, teacher, 1);
    EXPECT_NEAR(kl_loss(rows(student, 1), rows(teacher, 1), {}, kScale, stream), plain.sum(),
                this->kSumUnits * this->kEps * plain.sum());
    expect_within("gradient", student, plain.gradient, plain.size, this->kSumUnits + 12);
  }
}

TYPED_TEST(LossesTest, RowsThatDoNotCountGiveNothing) {
  using T = TypeParam;
  Stream stream(2);
  auto student = random_values<T>(3 * 257, "student"), teacher = random_values<T>(3 * 257, "t");
  const T nan = std::numeric_limits<T>::quiet_NaN();
  std::fill_n(student.begin() + 257, 257, nan);  // not even NaN
  auto one = std::vector<T>(student.begin(), student.begin() + 257);
  std::vector<std::uint8_t> counted{1, 0, 0};
  auto gradient = student;
  const double expected = kl_loss(rows(one, 1), view(teacher.data(), {1, 257}), {}, kScale, stream);
  EXPECT_EQ(kl_loss(rows(gradient, 3), rows(teacher, 3), flat(counted), kScale, stream), expected);
  for (std::size_t i = 0; i < gradient.size(); ++i) ASSERT_EQ(gradient[i], i < 257 ? one[i] : 0);

  gradient = student;
  std::vector<std::int32_t> labels{4, -1, -1};
  const double loss = ce_loss(rows(gradient, 3), flat(labels), kScale, false, stream);
  EXPECT_TRUE(std::isfinite(loss));
  EXPECT_EQ(ce_loss(rows(gradient, 3), flat(labels), kScale, true, stream), loss);
  for (std::size_t i = 257; i < gradient.size(); ++i) ASSERT_EQ(gradient[i], 0);
  EXPECT_NE(gradient[0], 0);
}

TYPED_TEST(LossesTest, NaNLogitsGiveNaN) {
  using T = TypeParam;
  Stream stream(1);
  auto student = random_values<T>(257, "student"), teacher = random_values<T>(257, "teacher");
  student[100] = std::numeric_limits<T>::quiet_NaN();
  std::vector<std::int32_t> labels{3};
  EXPECT_TRUE(std::isnan(ce_loss(rows(student, 1), flat(labels), 1, false, stream)));
  EXPECT_TRUE(std::isnan(kl_loss(rows(student, 1), rows(teacher, 1), {}, 1, stream)));
}

TYPED_TEST(LossesTest, CrossEntropyEqualsThePlainFormula) {
  using T = TypeParam;
  Stream stream(2);
  for (const auto& [N, V] : kShapes) {
    auto logits = random_values<T>(N * V, "logits");
    auto labels = random_labels(N, V);
    const auto before = logits;
    const Plain plain = plain_ce(logits, labels);
    const double loss = ce_loss(rows(logits, N), flat(labels), kScale, false, stream);
    // ln Z is near ln V < 8; Z and the exponents are good to a few units.
    EXPECT_NEAR(loss, plain.sum(), 8 * this->kEps * static_cast<double>(N));
    EXPECT_EQ(logits, before);
    EXPECT_EQ(ce_loss(rows(logits, N), flat(labels), kScale, true, stream), loss);
    expect_within("gradient", logits, plain.gradient, plain.size, 12);
  }
}

TYPED_TEST(LossesTest, TokenLogLikelihoodAndGreedy) {
  using T = TypeParam;
  Stream stream(2);
  auto logits = random_values<T>(3 * 257, "logits");
  logits[40] = logits[200] = 9;  // a tie in row 0
  logits[257] = 8;               // the first of row 1
  logits[3 * 257 - 1] = 8;       // the last of row 2
  std::vector<std::int32_t> labels{5, -1, 256};
  const Plain plain = plain_ce(logits, labels);
  auto losses = poisoned(3);
  std::vector<std::int32_t> greedy(3, -7);
  token_log_likelihood(flat(losses), flat(greedy), rows(logits, 3), flat(labels), stream);
  for (std::size_t n = 0; n < 3; ++n) EXPECT_NEAR(losses[n], plain.losses[n], 8 * this->kEps);
  EXPECT_EQ(losses[1], 0);
  EXPECT_THAT(greedy, testing::ElementsAre(40, 0, 256));

  std::vector<std::int32_t> alone(3, -7);
  token_log_likelihood({}, flat(alone), rows(logits, 3), {}, stream);
  EXPECT_EQ(alone, greedy);
  auto again = poisoned(3);
  token_log_likelihood(flat(again), {}, rows(logits, 3), flat(labels), stream);
  EXPECT_EQ(again, losses);
}

// The sum is that of the rows' own losses, added in order in float64.
TYPED_TEST(LossesTest, SumsRowsInOrder) {
  using T = TypeParam;
  Stream stream(4);
  auto student = random_values<T>(65 * 257, "student"), teacher = random_values<T>(65 * 257, "t");
  auto labels = random_labels(65, 257);
  double kl = 0, ce = 0, mse = 0;
  auto a = student, b = student, c = student;
  for (std::int64_t n = 0; n < 65; ++n) {
    const auto row = [n](std::vector<T>& values) { return rows(values, 65).slice(0, n, n + 1); };
    kl += kl_loss(row(a), row(teacher), {}, kScale, stream);
    ce += ce_loss(row(b), flat(labels).slice(0, n, n + 1), kScale, true, stream);
    mse += mse_loss(row(c), row(c), row(teacher), {}, kScale, stream);
  }
  expect_same_bits([&](Stream& threads) {
    auto x = student, y = student, z = student;
    const double kl_sum = kl_loss(rows(x, 65), rows(teacher, 65), {}, kScale, threads);
    const double ce_sum = ce_loss(rows(y, 65), flat(labels), kScale, true, threads);
    const double mse_sum =
        mse_loss(rows(z, 65), rows(z, 65), rows(teacher, 65), {}, kScale, threads);
    EXPECT_EQ(std::tuple(kl_sum, ce_sum, mse_sum), std::tuple(kl, ce, mse));
    EXPECT_EQ(std::tie(x, y, z), std::tie(a, b, c));
    return std::tuple(x, y, z);
  });
}

TEST(Losses, CheckTheirOperands) {
  Stream stream(1);
  std::vector<float> a(15), b(15), c(15);
  std::vector<double> wide(15), losses(3);
  std::vector<std::uint8_t> counted(3, 1), few(2, 1);
  std::vector<std::int32_t> labels{0, 4, 5}, greedy(3);
  const TensorView x = rows(a, 3), y = rows(b, 3), z = rows(c, 3);
  EXPECT_THROW(mse_loss(z, x, rows(wide, 3), {}, 1, stream), Error);
  EXPECT_THROW(mse_loss(z, x, rows(b, 5), {}, 1, stream), Error);
  EXPECT_THROW(mse_loss(y, x, y, {}, 1, stream), Error);
  EXPECT_THROW(mse_loss(z, x, y, flat(few), 1, stream), Error);
  EXPECT_THROW(mse_loss(z, x, y, {}, std::numeric_limits<double>::quiet_NaN(), stream), Error);
  EXPECT_THROW(kl_loss(x, x, {}, 1, stream), Error);
  EXPECT_THROW(kl_loss(x, y.slice(1, 0, 4), {}, 1, stream), Error);
  EXPECT_THROW(kl_loss(view(a.data(), {3, 0}), view(b.data(), {3, 0}), {}, 1, stream), Error);
  EXPECT_THROW(kl_loss(x, y, flat(few), 1, stream), Error);
  const auto before = a;
  EXPECT_THAT(error_of([&] { ce_loss(x, flat(labels), 1, true, stream); }),
              HasSubstr("label 5 of row 2 is outside [-1, 5)"));
  labels[2] = -2;
  EXPECT_THAT(error_of([&] { ce_loss(x, flat(labels), 1, true, stream); }),
              HasSubstr("label -2 of row 2"));
  EXPECT_THROW(token_log_likelihood(flat(losses), flat(greedy), x, flat(labels), stream), Error);
  EXPECT_EQ(a, before);
  labels[2] = 0;
  EXPECT_THROW(ce_loss(x, flat(labels).slice(0, 0, 2), 1, true, stream), Error);
  EXPECT_THROW(ce_loss(flat(a), flat(labels), 1, true, stream), Error);
  EXPECT_THROW(token_log_likelihood(flat(a), flat(greedy), x, flat(labels), stream), Error);
  EXPECT_THROW(token_log_likelihood(flat(losses), flat(labels), x, flat(labels), stream), Error);
  EXPECT_THROW(token_log_likelihood(flat(losses), {}, x, {}, stream), Error);
}

}  // namespace
}  // namespace halo::kernels
