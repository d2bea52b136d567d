#include "core/base/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <vector>

namespace halo {
namespace {

using Words = std::array<std::uint32_t, 4>;

/// Philox-4x32-10 as the paper writes it: two multiplications a round, then the words change places.
Words philox(Words c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t even = c[0] * std::uint64_t{0xD2511F53};
    const std::uint64_t odd = c[2] * std::uint64_t{0xCD9E8D57};
    const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    c = {high(odd) ^ c[1] ^ k[0], low(odd), high(even) ^ c[3] ^ k[1], low(even)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

TEST(CounterRngTest, IsPhilox) {
  // The known answers that the authors publish with the generator.
  ASSERT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  ASSERT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  const std::uint64_t seed = 0x123456789abcdef0, name = hash64("layers.3.weight");
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const Words key = philox({low(name), high(name), 2, 0}, {low(seed), high(seed)});
  const CounterRng rng(seed, "layers.3.weight");
  for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{77}, std::uint64_t{1} << 40}) {
    const Words words = philox({low(i), high(i), 0, 0}, {key[0], key[1]});
    EXPECT_EQ(rng.bits(i), (std::uint64_t{words[1]} << 32) | words[0]) << i;
  }
}

TEST(CounterRngTest, KnowsFnv1a) {
  EXPECT_EQ(hash64(""), 0xcbf29ce484222325u);  // from the specification of FNV
  EXPECT_EQ(hash64("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(hash64("foobar"), 0x85944171f73967e8u);
}

/// Means and variances of n draws miss theirs by about sigma / sqrt(n); five of those is once in 2 million, and the
/// draws are always the same.
TEST(CounterRngTest, UniformHasItsMomentsAndRange) {
  constexpr std::uint64_t kDraws = 200000;
  const CounterRng rng(1, "uniform");
  double sum = 0, squares = 0;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const double x = rng.uniform(i);
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    squares += (x - 0.5) * (x - 0.5);
  }
  const double root = std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12) / root);
  EXPECT_NEAR(squares / kDraws, 1.0 / 12, 5 * std::sqrt(1.0 / 180) / root);
}

TEST(CounterRngTest, NormalHasItsFirstFourMoments) {
  constexpr std::uint64_t kDraws = 200000;
  const CounterRng rng(1, "normal");
  std::array<double, 5> moments{};
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const double x = rng.normal(i);
    ASSERT_TRUE(std::isfinite(x));
    for (std::size_t k = 1; k < moments.size(); ++k) moments[k] += std::pow(x, k) / kDraws;
  }
  // The variance of x^k is E x^2k - (E x^k)^2: 1, 2, 15, 96.
  const double root = std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(moments[1], 0, 5 * std::sqrt(1) / root);
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2) / root);
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15) / root);
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96) / root);
}

TEST(CounterRngTest, BelowIsEvenAndStaysBelow) {
  constexpr std::uint64_t kDraws = 70000;
  const CounterRng rng(1, "below");
  std::array<int, 7> counts{};
  for (std::uint64_t i = 0; i < kDraws; ++i) ++counts.at(rng.below(7, i));
  // Binomial: sigma = sqrt(70000 * 1/7 * 6/7) = 93.
  for (const int count : counts) EXPECT_NEAR(count, 10000, 5 * 93);
  EXPECT_EQ(rng.below(1, 5), 0u);
}

TEST(CounterRngTest, AValueDependsOnSeedNameAndIndexAlone) {
  const CounterRng whole(9, "weight"), slice(9, "weight");
  std::vector<double> forward, backward;
  for (std::uint64_t i = 0; i < 100; ++i) forward.push_back(whole.normal(i));
  for (std::uint64_t i = 100; i-- > 0;) backward.push_back(slice.normal(i));
  EXPECT_EQ(forward, std::vector<double>(backward.rbegin(), backward.rend()));
}

TEST(CounterRngTest, SeedsNamesAndIndicesGiveOtherValues) {
  std::set<std::uint64_t> seen;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const char* name : {"", "a", "b", "ab", "ba"}) {
      for (std::uint64_t i = 0; i < 100; ++i) seen.insert(CounterRng(seed, name).bits(i));
    }
  }
  EXPECT_EQ(seen.size(), 3u * 5u * 100u);
}

}  // namespace
}  // namespace halo
