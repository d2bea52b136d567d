#include "data/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "data/permutation.h"
#include "tests/data/complaint.h"

namespace halo::data {
namespace {

using Tokens = std::vector<std::int64_t>;

TEST(PermutationTest, TakesEveryValueOnce) {
  for (const std::int64_t n :
       {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 1000, 4095, 4096, 4097, 70001}) {
    for (const std::uint64_t seed : {0u, 1u, 77u}) {
      const Permutation permutation(n, seed);
      std::vector<bool> taken(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t value = permutation(i);
        ASSERT_TRUE(value >= 0 && value < n) << n;
        ASSERT_FALSE(taken[static_cast<std::size_t>(value)]) << n << ' ' << value;
        taken[static_cast<std::size_t>(value)] = true;
      }
    }
  }
  EXPECT_THROW(Permutation(0, 1), Error);
  EXPECT_THROW((void)Permutation(5, 1)(5), Error);
  const Permutation large(std::int64_t{1} << 50, 3);
  EXPECT_NE(large(0), large(1));
}

TEST(PermutationTest, LooksShuffled) {
  const std::int64_t n = 1000;
  const Permutation permutation(n, 5);
  int in_place = 0;
  int ascending = 0;
  double distance = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    in_place += permutation(i) == i;
    ascending += i > 0 && permutation(i) > permutation(i - 1);
    distance += static_cast<double>(std::abs(permutation(i) - i));
  }
  EXPECT_LT(in_place, 8);                  // 1 expected; 8 or more once in 100000 shuffles
  EXPECT_NEAR(ascending, 500, 50);         // standard deviation 9
  EXPECT_NEAR(distance / n, n / 3.0, 35);  // standard deviation 7
}

TEST(PermutationTest, SmallOnesComeInEveryOrder) {
  std::set<std::vector<std::int64_t>> orders;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const Permutation p(4, seed * 0x9E3779B97F4A7C15u);
    orders.insert({p(0), p(1), p(2), p(3)});
  }
  EXPECT_GE(orders.size(), 12u);  // a network of two bits cannot reach all 24 equally
}

TEST(SamplerTest, WithoutShufflingSamplesFollowEachOther) {
  const Sampler sampler(Tokens{25, 31}, {10, false, 0, {}});
  const std::vector<std::pair<int, int>> expected{{0, 0},  {0, 10}, {1, 0}, {1, 10},
                                                  {1, 20}, {0, 0},  {0, 10}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const TokenRange range = sampler(static_cast<std::int64_t>(i));
    EXPECT_EQ(range.source, expected[i].first) << i;
    EXPECT_EQ(range.begin, expected[i].second) << i;
    EXPECT_EQ(range.end, range.begin + 10);
  }
  EXPECT_EQ(sampler.distinct_samples(), 5);
}

TEST(SamplerTest, ShufflingReadsEverythingOnceAnEpochInNewOrder) {
  const Sampler sampler(Tokens{5003, 2007}, {10, true, 7, {}});
  std::vector<std::vector<std::pair<std::int32_t, std::int64_t>>> epochs(3);
  for (std::int64_t i = 0; i < 2100; ++i) {
    const TokenRange range = sampler(i);
    EXPECT_EQ(range.begin % 10, 0);
    EXPECT_LE(range.end, range.source == 0 ? 5003 : 2007);
    epochs[static_cast<std::size_t>(i / 700)].emplace_back(range.source, range.begin);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  for (const auto& epoch : epochs) {
    EXPECT_EQ(std::set(epoch.begin(), epoch.end()).size(), 700u);
  }
  EXPECT_EQ(sampler.distinct_samples(), 700);
}

TEST(SamplerTest, SeedsGiveOtherOrders) {
  const Sampler a(Tokens{10000}, {10, true, 1, {}});
  const Sampler b(Tokens{10000}, {10, true, 2, {}});
  int equal = 0;
  for (std::int64_t i = 0; i < 1000; ++i) equal += a(i).begin == b(i).begin;
  EXPECT_LT(equal, 10);  // 1 expected
}

TEST(SamplerTest, WeightsAreExactAtEveryPoint) {
  for (const std::vector<double>& weights :
       {std::vector<double>{1, 1}, {3, 1}, {0.5, 0.3, 0.2}, {7, 2, 1}, {1e-3, 1}, {2.5, 1.5, 4}}) {
    const Tokens tokens(weights.size(), 1'000'000);
    const Sampler sampler(tokens, {10, false, 0, weights});
    double sum = 0;
    for (const double weight : weights) sum += weight;
    std::vector<std::int64_t> taken(weights.size());
    for (std::int64_t i = 0; i < 5000; ++i) {
      const TokenRange range = sampler(i);
      const auto source = static_cast<std::size_t>(range.source);
      EXPECT_EQ(range.begin / 10,
                taken[source]++);  // each source is read in its own order, without a gap
      for (std::size_t s = 0; s < weights.size(); ++s) {
        // Never a whole sample away from its share, with room for three sources that wait for each other.
        ASSERT_LE(std::fabs(static_cast<double>(taken[s]) -
                            weights[s] / sum * static_cast<double>(i + 1)),
                  1.5)
            << i << ' ' << s;
      }
    }
  }
}

TEST(SamplerTest, WeightsThatFitNoRoundAreKeptClosely) {
  const std::vector<double> weights{M_PI, M_E, 1};
  const auto quotas = share_turns(weights, 16384);
  EXPECT_EQ(quotas[0] + quotas[1] + quotas[2], 16384);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(quotas[i], weights[i] / (M_PI + M_E + 1) * 16384, 1);
  }
  EXPECT_EQ(share_turns(std::vector<double>{1, 1e9, 1}, 4), (std::vector<std::int32_t>{1, 2, 1}));
  const Sampler sampler(Tokens{1000, 1000, 1000}, {10, true, 0, weights});
  std::vector<std::int64_t> taken(3);
  for (std::int64_t i = 0; i < 16384; ++i) ++taken[static_cast<std::size_t>(sampler(i).source)];
  EXPECT_EQ(taken, (std::vector<std::int64_t>{quotas[0], quotas[1], quotas[2]}));
}

TEST(SamplerTest, SaysWhereSamplesBeginToRepeat) {
  for (const bool shuffle : {false, true}) {
    for (const std::vector<double>& weights : {std::vector<double>{}, {1, 2}, {5, 1}, {1, 9}}) {
      const Sampler sampler(Tokens{70, 130}, {10, shuffle, 3, weights});
      std::set<std::pair<std::int32_t, std::int64_t>> seen;
      std::int64_t i = 0;
      while (seen.insert({sampler(i).source, sampler(i).begin}).second) ++i;
      EXPECT_EQ(sampler.distinct_samples(), i) << weights.size() << shuffle;
    }
  }
}

TEST(SamplerTest, RefusesWhatCannotBe) {
  const auto make = [](const Tokens& tokens, SamplerOptions options) {
    return complaint([&] { Sampler sampler(tokens, options); });
  };
  EXPECT_TRUE(holds(make({100, 9}, {10, false, 0, {}}),
                    "token file 1 holds 9 tokens, fewer than one sample of 10"));
  EXPECT_TRUE(holds(make({}, {10, false, 0, {}}), "no token file"));
  EXPECT_TRUE(holds(make({100}, {10, false, 0, {1, 2}}), "2 weights for 1 token files"));
  for (const double weight : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity()}) {
    EXPECT_TRUE(holds(make({100, 100}, {10, false, 0, {1, weight}}), "is not positive"));
  }
  EXPECT_THROW(Sampler(Tokens{100}, {0, false, 0, {}}), Error);
}

}  // namespace
}  // namespace halo::data
