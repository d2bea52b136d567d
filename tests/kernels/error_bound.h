#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/stream.h"

namespace halo::kernels {

/// Expects |actual - expected| <= units * epsilon of T * magnitude, element by element. The magnitude is the sum of the
/// absolute values of the terms that make the element, so `units` counts the roundings on the way to it. What T cannot
/// hold as a normal number may be lost.
template <class T>
void expect_within(std::string_view name, const std::vector<T>& actual,
                   const std::vector<double>& expected, const std::vector<double>& magnitude,
                   double units) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  const auto eps = static_cast<double>(std::numeric_limits<T>::epsilon());
  const auto smallest = static_cast<double>(std::numeric_limits<T>::min());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(actual[i]), expected[i], units * eps * magnitude[i] + smallest)
        << name << '[' << i << "], magnitude " << magnitude[i];
  }
}

/// What the Error of `body` says; a failure when there is none.
inline std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

/// Expects run(stream), a vector of results, to have the same bits for 1 to 4 threads.
template <class Run>
void expect_same_bits(Run&& run) {
  Stream one(1);
  const auto expected = run(one);
  for (int threads = 2; threads <= 4; ++threads) {
    Stream stream(threads);
    EXPECT_EQ(run(stream), expected) << threads << " threads";
  }
}

}  // namespace halo::kernels
