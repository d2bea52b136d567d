#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/rng.h"
#include "core/base/tensor_view.h"

namespace halo::kernels {

/// Standard normal values that depend on the name alone.
template <class T = double>
[[nodiscard]] std::vector<T> random_values(std::int64_t n, std::string_view name) {
  const CounterRng rng(1, name);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(rng.normal(i));
  return values;
}

/// NaNs, for outputs that must be written whole.
template <class T = double>
[[nodiscard]] std::vector<T> poisoned(std::int64_t n) {
  return std::vector<T>(static_cast<std::size_t>(n), std::numeric_limits<T>::quiet_NaN());
}

/// All of `values` in one dimension.
template <class T>
[[nodiscard]] TensorView flat(std::vector<T>& values) {
  return view(values.data(), {std::ssize(values)});
}

/// Another type's rounding of the same values.
template <class To, class From>
[[nodiscard]] std::vector<To> converted(const std::vector<From>& from) {
  return std::vector<To>(from.begin(), from.end());
}

/// The weighted sum whose gradient with respect to `values` is `weights`: the loss of a gradient check.
template <class T>
[[nodiscard]] double weighted_sum(const std::vector<T>& values, const std::vector<T>& weights) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    sum += static_cast<double>(values[i]) * static_cast<double>(weights[i]);
  return sum;
}

/// Expects |actual - expected| <= tolerance * max(1, |expected|) for every element; names the worst one.
template <class T>
void expect_close(std::string_view name, const std::vector<T>& actual,
                  const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  double worst = -1;
  std::size_t where = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]) /
                         std::max(1.0, std::abs(expected[i]));
    if (!(error <= worst)) worst = error, where = i;  // NaN is the worst of all
    if (std::isnan(error)) break;
  }
  EXPECT_LE(worst, tolerance) << name << '[' << where << "] is "
                              << (actual.empty() ? T{} : actual[where]) << ", expected "
                              << (expected.empty() ? 0.0 : expected[where]);
}

/// Expects `gradient` to be the derivative of loss() with respect to x, by central differences in float64.
/// loss() reads x; x is as before afterwards. With step 1e-5 the differences are good to about 1e-10 of the loss's
/// curvature and 2e-11 of its value; `tolerance` is relative to max(1, |gradient|). At most `samples` elements, evenly
/// spread, are tried.
inline void expect_gradient(std::string_view name, std::vector<double>& x,
                            const std::vector<double>& gradient,
                            const std::function<double()>& loss, double tolerance = 1e-7,
                            std::size_t samples = 150) {
  ASSERT_EQ(x.size(), gradient.size()) << name;
  constexpr double kStep = 1e-5;
  const std::size_t stride = std::max<std::size_t>(1, x.size() / samples);
  for (std::size_t i = 0; i < x.size(); i += stride) {
    const double before = x[i];
    x[i] = before + kStep;
    const double above = loss();
    x[i] = before - kStep;
    const double below = loss();
    x[i] = before;
    const double expected = (above - below) / (2 * kStep);
    ASSERT_NEAR(gradient[i], expected, tolerance * std::max(1.0, std::abs(expected)))
        << "gradient of " << name << '[' << i << ']';
  }
}

}  // namespace halo::kernels
