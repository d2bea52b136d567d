#include "data/permutation.h"

#include <algorithm>
#include <bit>

#include "core/base/error.h"

namespace halo::data {
namespace {

/// Spreads every input bit over all output bits (the finaliser of MurmurHash3).
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
  return x ^ (x >> 33);
}

}  // namespace

Permutation::Permutation(std::int64_t n, std::uint64_t seed)
    : n_(static_cast<std::uint64_t>(n)), seed_(seed) {
  HALO_REQUIRE(n >= 1, str("a permutation of ", n, " values"));
  half_bits_ = std::max(1, (static_cast<int>(std::bit_width(n_ - 1)) + 1) / 2);
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  constexpr std::uint64_t kRounds = 8;  // few bits need more than the usual four to look shuffled
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    const std::uint64_t key = mix(seed_ + round * 0x9E3779B97F4A7C15u);
    const std::uint64_t next = left ^ (mix(right ^ key) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

std::int64_t Permutation::operator()(std::int64_t i) const {
  HALO_REQUIRE(i >= 0 && static_cast<std::uint64_t>(i) < n_, str(i, " is not below ", n_));
  std::uint64_t value = encrypt(static_cast<std::uint64_t>(i));
  while (value >= n_) value = encrypt(value);
  return static_cast<std::int64_t>(value);
}

}  // namespace halo::data
