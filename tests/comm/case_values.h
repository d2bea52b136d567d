#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "parallel/comm/communicator.h"

namespace halo::comm {

inline std::size_t index(int i) { return static_cast<std::size_t>(i); }

/// Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64's finaliser).
inline std::uint64_t scrambled(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// What `rank` has in a test: floats whose sum depends on the order, whole numbers that overflow a sum.
template <class T>
std::vector<T> values(int rank, std::int64_t n) {
  std::vector<T> result(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::uint64_t bits = scrambled(static_cast<std::uint64_t>(rank + 1) << 40 | i);
    if constexpr (std::is_floating_point_v<T>) {
      const auto whole = static_cast<T>(static_cast<std::int64_t>(bits));
      result[i] = whole * (i % 2 == 0 ? T{1} : static_cast<T>(0x1p-40));
    } else {
      result[i] = static_cast<T>(bits);
    }
  }
  return result;
}

template <class T>
T combined(T a, T b, ReduceOp op) {
  if (op == ReduceOp::kMax) return std::max(a, b);
  if constexpr (std::is_floating_point_v<T>) {
    return a + b;
  } else {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  }
}

/// In rank order: the bits that every algorithm must give.
template <class T>
std::vector<T> reduced(int ranks, std::int64_t n, ReduceOp op) {
  std::vector<T> result = values<T>(0, n);
  for (int r = 1; r < ranks; ++r) {
    const std::vector<T> other = values<T>(r, n);
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = combined(result[i], other[i], op);
  }
  return result;
}

template <class T>
TensorView flat(std::vector<T>& values) {
  return view(values.data(), {static_cast<std::int64_t>(values.size())});
}

}  // namespace halo::comm
