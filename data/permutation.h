#pragma once
#include <cstdint>

namespace halo::data {

/// A shuffle of 0 ... n-1 that is computed, not stored: a Feistel network over the next even power of two, walked on
/// until it lands below n (four steps at most on average). Another seed gives another order.
/// Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains".
class Permutation {
 public:
  /// Throws Error for n < 1.
  Permutation(std::int64_t n, std::uint64_t seed);

  /// Where i goes, 0 <= i < n. Every value below n is taken once.
  [[nodiscard]] std::int64_t operator()(std::int64_t i) const;

 private:
  [[nodiscard]] std::uint64_t encrypt(std::uint64_t value) const;

  std::uint64_t n_;
  std::uint64_t seed_;
  int half_bits_;
};

}  // namespace halo::data
