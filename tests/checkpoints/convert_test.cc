#include "checkpoints/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/rng.h"
#include "tests/checkpoints/expect_input_error.h"

namespace halo::checkpoints {
namespace {

/// The value of a 16-bit float from the definition of its fields, independent of core/base.
double defined_value(std::uint16_t bits, int exponent_bits, int fraction_bits) {
  const int sign = bits >> 15;
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value = 0;
  if (exponent == (1 << exponent_bits) - 1) {
    value = fraction == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(fraction, 1 - bias - fraction_bits);
  } else {
    value = std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
  }
  return sign != 0 ? -value : value;
}

struct Half {
  const char* name;
  DType dtype;
  int exponent_bits;
  int fraction_bits;
};
void PrintTo(const Half& half, std::ostream* out) { *out << half.name; }

class HalfTest : public testing::TestWithParam<Half> {
 protected:
  HalfTest() {
    for (int i = 0; i < 1 << 16; ++i) all_.push_back(static_cast<std::uint16_t>(i));
  }
  TensorView all() { return {all_.data(), GetParam().dtype, {1 << 16}}; }
  [[nodiscard]] double defined(std::uint16_t bits) const {
    return defined_value(bits, GetParam().exponent_bits, GetParam().fraction_bits);
  }
  /// `values` converted to the 16-bit float.
  std::vector<std::uint16_t> narrowed(std::vector<double> values) {
    std::vector<std::uint16_t> bits(values.size());
    const Shape shape{static_cast<std::int64_t>(values.size())};
    convert({bits.data(), GetParam().dtype, shape}, view(values.data(), shape), "test");
    return bits;
  }
  std::vector<std::uint16_t> all_;
};

TEST_P(HalfTest, EveryValueWidensExactly) {
  std::vector<float> floats(1 << 16);
  std::vector<double> doubles(1 << 16);
  convert(view(floats.data(), {1 << 16}), all(), "test");
  convert(view(doubles.data(), {1 << 16}), all(), "test");
  for (std::size_t i = 0; i < all_.size(); ++i) {
    const double expected = defined(all_[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(floats[i]) && std::isnan(doubles[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint64_t>(doubles[i]), std::bit_cast<std::uint64_t>(expected));
      ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[i]),
                std::bit_cast<std::uint32_t>(static_cast<float>(expected)));
    }
  }
}

/// Values between neighbours go to the nearer, ties to the even one; values so near a tie that float32 cannot hold the
/// difference show a conversion that rounds twice.
TEST_P(HalfTest, Float64NarrowsToTheNearestInOneRounding) {
  std::vector<double> values;
  std::vector<std::uint16_t> expected;
  const auto largest =
      static_cast<std::uint16_t>(((1 << GetParam().exponent_bits) - 1) << GetParam().fraction_bits);
  for (std::uint16_t bits = 0; bits + 1 < largest; ++bits) {
    const auto next = static_cast<std::uint16_t>(bits + 1);
    const double a = defined(bits);
    const double middle = (a + defined(next)) / 2;
    const std::uint16_t even = bits % 2 == 0 ? bits : next;
    const double below = std::nextafter(middle, -std::numeric_limits<double>::infinity());
    const double above = std::nextafter(middle, std::numeric_limits<double>::infinity());
    for (const double sign : {1.0, -1.0}) {
      const auto sign_bit = static_cast<std::uint16_t>(sign < 0 ? 0x8000 : 0);
      for (const auto& [value, result] : {std::pair{a, bits}, std::pair{below, bits},
                                          std::pair{middle, even}, std::pair{above, next}}) {
        values.push_back(sign * value);
        expected.push_back(static_cast<std::uint16_t>(result | sign_bit));
      }
    }
  }
  const std::vector<std::uint16_t> got = narrowed(values);
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i]) << values[i];
}

TEST_P(HalfTest, TooLargeIsInfinityAndNanStaysNan) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double largest_float = static_cast<double>(std::numeric_limits<float>::max());
  const auto got = narrowed({infinity, -infinity, 1e300, -1e300, largest_float, std::nan("")});
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(defined(got[i]), i % 2 == 0 ? infinity : -infinity);
  }
  EXPECT_TRUE(std::isnan(defined(got[5])));
}

INSTANTIATE_TEST_SUITE_P(Convert, HalfTest,
                         testing::Values(Half{"bfloat16", DType::kBFloat16, 8, 7},
                                         Half{"float16", DType::kFloat16, 5, 10}),
                         [](const auto& test) { return test.param.name; });

TEST(ConvertTest, EveryDtypeCopiesToItselfBitByBit) {
  for (const DType dtype :
       {DType::kFloat64, DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kInt64,
        DType::kInt32, DType::kUint32, DType::kUint16, DType::kUint8}) {
    std::vector<std::uint8_t> in(8 * 6), out(8 * 6 + 1, 0xaa);
    const CounterRng rng(1, "bytes");
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint8_t>(rng.bits(i));
    const TensorView source(in.data(), dtype, {2, 3});
    convert({out.data(), dtype, {2, 3}}, source, "test");
    EXPECT_EQ(std::memcmp(in.data(), out.data(), source.bytes()), 0) << dtype_name(dtype);
    EXPECT_EQ(out[source.bytes()], 0xaa) << "wrote past the end of " << dtype_name(dtype);
  }
}

TEST(ConvertTest, StridedOnBothSidesAndUnalignedSource) {
  std::vector<std::byte> bytes(1 + 24 * sizeof(float));
  for (int i = 0; i < 24; ++i) {
    const auto value = static_cast<float>(i);
    std::memcpy(bytes.data() + 1 + static_cast<std::size_t>(i) * sizeof value, &value,
                sizeof value);
  }
  const TensorView in(bytes.data() + 1, DType::kFloat32, {4, 6});
  std::vector<double> out(5 * 7, -1);
  convert(view(out.data(), {5, 7}).slice(0, 1, 3).slice(1, 2, 5), in.slice(0, 2, 4).slice(1, 1, 4),
          "test");
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 7; ++j) {
      const bool inside = i >= 1 && i < 3 && j >= 2 && j < 5;
      const int expected = (i - 1 + 2) * 6 + j - 2 + 1;
      EXPECT_EQ(out[static_cast<std::size_t>(i * 7 + j)], inside ? expected : -1);
    }
  }
}

TEST(ConvertTest, ATransposedViewIsReadInItsOwnOrder) {
  std::vector<float> in = {1, 2, 3, 4, 5, 6};
  TensorView transposed = view(in.data(), {3, 2});
  transposed.strides = {1, 3};
  std::vector<float> out(6);
  convert(view(out.data(), {3, 2}), transposed, "test");
  EXPECT_EQ(out, (std::vector<float>{1, 4, 2, 5, 3, 6}));
}

TEST(ConvertTest, IntegersMustFit) {
  std::vector<std::int64_t> in = {0, -5, std::numeric_limits<std::int32_t>::max()};
  std::vector<std::int32_t> out(3);
  convert(view(out.data(), {3}), view(in.data(), {3}), "tokens");
  EXPECT_EQ(out, (std::vector<std::int32_t>{0, -5, 2147483647}));
  in[1] = std::int64_t{1} << 31;
  expect_input_error([&] { convert(view(out.data(), {3}), view(in.data(), {3}), "tokens"); },
                     "tokens: element 1 is 2147483648");
  std::vector<float> floats(3);
  expect_input_error([&] { convert(view(floats.data(), {3}), view(in.data(), {3}), "tokens"); },
                     "is int64, wanted float32");
}

TEST(ConvertTest, CountsNonfiniteElementsOfEveryFloatingDtype) {
  std::vector<double> values = {1, std::nan(""), 3, -std::numeric_limits<double>::infinity(), 0};
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    std::vector<std::byte> bytes(8 * values.size());
    const TensorView stored(bytes.data(), dtype, {5});
    convert(stored, view(values.data(), {5}), "test");
    EXPECT_EQ(nonfinite_elements(stored), 2) << dtype_name(dtype);
    EXPECT_EQ(nonfinite_elements(stored.slice(0, 2, 3)), 0) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace halo::checkpoints
