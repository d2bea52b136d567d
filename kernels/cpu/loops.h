#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/base/stream.h"

namespace halo::kernels::cpu {

inline constexpr std::int64_t kBlock = 4096;  // elements; a few of these fit the first cache

/// body(block, begin, end) for each block of kBlock elements of [0, n). Cuts depend on n alone, never on the threads,
/// so no element moves between the vector part of a loop and its scalar rest: bits repeat.
template <class Body>
void for_each_block(std::int64_t n, std::int64_t cost, Stream& stream, Body&& body) {
  const std::int64_t blocks = (n + kBlock - 1) / kBlock;
  stream.parallel_for(blocks, kBlock * cost, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) {
      body(block, block * kBlock, std::min(n, (block + 1) * kBlock));
    }
  });
}

/// term(0) + ... + term(n - 1) in Sum, in four interleaved runs of vectors: fast, and more exact than one running sum.
template <class Sum, class Term>
Sum sum_of(std::int64_t n, Term&& term) {
  const std::int64_t quarter = n / 4;
  Sum a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
  for (std::int64_t i = 0; i < quarter; ++i) {
    a += term(i);
    b += term(i + quarter);
    c += term(i + 2 * quarter);
    d += term(i + 3 * quarter);
  }
  for (std::int64_t i = 4 * quarter; i < n; ++i) a += term(i);
  return (a + b) + (c + d);
}

/// The largest of x[0, n); -inf for none. NaN never wins.
template <class T>
T max_of(const T* x, std::int64_t n) {
  const std::int64_t quarter = n / 4;
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  T a = kLowest, b = kLowest, c = kLowest, d = kLowest;
#pragma omp simd reduction(max : a, b, c, d)
  for (std::int64_t i = 0; i < quarter; ++i) {
    a = x[i] > a ? x[i] : a;
    b = x[i + quarter] > b ? x[i + quarter] : b;
    c = x[i + 2 * quarter] > c ? x[i + 2 * quarter] : c;
    d = x[i + 3 * quarter] > d ? x[i + 3 * quarter] : d;
  }
  for (std::int64_t i = 4 * quarter; i < n; ++i) a = x[i] > a ? x[i] : a;
  return std::max(std::max(a, b), std::max(c, d));
}

}  // namespace halo::kernels::cpu
