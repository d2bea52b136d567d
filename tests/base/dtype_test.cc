#include "core/base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace halo {
namespace {

/// What a pattern of `exponent_bits` and `fraction_bits` means, from its definition.
double meaning(std::uint16_t bits, int exponent_bits, int fraction_bits) {
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value = 0;
  if (exponent == (1 << exponent_bits) - 1) {
    value = fraction == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
  } else if (exponent == 0) {
    value = std::ldexp(fraction, 1 - bias - fraction_bits);
  } else {
    value = std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

struct BFloat16Format {
  using Type = BFloat16;
  static constexpr int kExponent = 8, kFraction = 7;
};
struct Float16Format {
  using Type = Float16;
  static constexpr int kExponent = 5, kFraction = 10;
};

template <class Format>
class ShortFloatTest : public testing::Test {
 protected:
  using Short = typename Format::Type;
  static double meaning_of(int bits) {
    return meaning(static_cast<std::uint16_t>(bits), Format::kExponent, Format::kFraction);
  }
  static float widened(int bits) {
    Short value;
    value.bits = static_cast<std::uint16_t>(bits);
    return static_cast<float>(value);
  }
  static int narrowed(double value) { return Short(static_cast<float>(value)).bits; }
  static constexpr int kInfinity = ((1 << Format::kExponent) - 1) << Format::kFraction;
};
using Formats = testing::Types<BFloat16Format, Float16Format>;
TYPED_TEST_SUITE(ShortFloatTest, Formats);

TYPED_TEST(ShortFloatTest, EveryPatternMeansWhatTheFormatSaysAndRoundTrips) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const double expected = this->meaning_of(bits);
    const float value = this->widened(bits);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(this->widened(this->narrowed(value)))) << bits;
    } else {
      EXPECT_EQ(value, expected) << bits;
      EXPECT_EQ(this->narrowed(value), bits);
    }
  }
}

TYPED_TEST(ShortFloatTest, RoundsToNearestAndTiesToEvenBetweenAllNeighbours) {
  for (int bits = 0; bits + 1 < this->kInfinity; ++bits) {
    const auto middle =
        static_cast<float>((this->meaning_of(bits) + this->meaning_of(bits + 1)) / 2);
    const int even = bits % 2 == 0 ? bits : bits + 1;
    EXPECT_EQ(this->narrowed(middle), even) << bits;
    EXPECT_EQ(this->narrowed(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(this->narrowed(std::nextafter(middle, std::numeric_limits<float>::infinity())),
              bits + 1);
    EXPECT_EQ(this->narrowed(-middle), even | 0x8000);
  }
}

TYPED_TEST(ShortFloatTest, OverflowsToInfinityHalfAStepAboveTheLargest) {
  const int largest = this->kInfinity - 1;
  const double step = this->meaning_of(largest) - this->meaning_of(largest - 1);
  const auto middle = static_cast<float>(this->meaning_of(largest) + step / 2);
  EXPECT_EQ(this->narrowed(middle), this->kInfinity);
  EXPECT_EQ(this->narrowed(std::nextafter(middle, 0.0f)), largest);
  EXPECT_EQ(this->narrowed(std::numeric_limits<float>::max()), this->kInfinity);
  EXPECT_EQ(this->narrowed(-std::numeric_limits<float>::infinity()), this->kInfinity | 0x8000);
}

TEST(BFloat16Test, ANanWhoseFractionIsOnlyLowBitsStaysANan) {
  const auto nan = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(nan))));
}

TEST(DTypeTest, SizesAndNamesAgreeWithTheTypes) {
  EXPECT_EQ(dtype_size(dtype_of<double>()), sizeof(double));
  EXPECT_EQ(dtype_size(dtype_of<BFloat16>()), sizeof(BFloat16));
  EXPECT_EQ(dtype_size(dtype_of<Float16>()), sizeof(Float16));
  EXPECT_EQ(dtype_size(dtype_of<const std::int64_t>()), sizeof(std::int64_t));
  EXPECT_EQ(dtype_size(dtype_of<std::uint8_t>()), sizeof(std::uint8_t));
  EXPECT_EQ(dtype_name(DType::kUint16), "uint16");
  EXPECT_EQ(wide_dtype(DType::kFloat64), DType::kFloat64);
  EXPECT_EQ(wide_dtype(DType::kBFloat16), DType::kFloat32);
  EXPECT_THROW(static_cast<void>(dtype_size(static_cast<DType>(200))), Error);
}

TEST(DTypeTest, DispatchPicksTheTypeOrNamesTheDtype) {
  std::size_t size = 0;
  dispatch_cpu_float(DType::kFloat64, [&](auto zero) { size = sizeof zero; });
  EXPECT_EQ(size, 8u);
  dispatch_float(DType::kBFloat16, [&](auto zero) {
    size = sizeof zero;
    EXPECT_TRUE((std::is_same_v<decltype(zero), BFloat16>));
  });
  EXPECT_EQ(size, 2u);
  try {
    dispatch_cpu_float(DType::kBFloat16, [](auto) {});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("bfloat16"), std::string::npos);
  }
  EXPECT_THROW(dispatch_float(DType::kInt32, [](auto) {}), Error);
}

}  // namespace
}  // namespace halo
