#pragma once
#include <cstdint>
#include <string_view>

#include "core/base/tensor_view.h"

namespace halo {

/// A counter-based generator: value i depends on (seed, name, i) alone, so a tensor's initial values are the same on
/// every layout and a rank draws just its slice.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox-4x32-10).
class CounterRng {
 public:
  CounterRng(std::uint64_t seed, std::string_view name);

  [[nodiscard]] std::uint64_t bits(std::uint64_t i) const;
  [[nodiscard]] double uniform(std::uint64_t i) const;  // [0, 1), 53 bits
  [[nodiscard]] double normal(std::uint64_t i) const;   // mean 0, variance 1 (Box-Muller)
  /// A whole number in [0, n), n >= 1, without bias worth naming (n far below 2^64).
  [[nodiscard]] std::uint64_t below(std::uint64_t n, std::uint64_t i) const;

 private:
  std::uint64_t key_;
};

/// 64-bit FNV-1a of a text: for names, never for security.
[[nodiscard]] std::uint64_t hash64(std::string_view text);

}  // namespace halo
