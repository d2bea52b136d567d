#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/base/tensor_view.h"

namespace halo::kernels::cpu {

/// The row of token t, batch element b and head h of a view (T, B, heads, K).
template <class T>
[[nodiscard]] inline T* head_row(const TensorView& x, std::int64_t t, std::int64_t b,
                                 std::int64_t h) {
  return static_cast<T*>(x.data) + t * x.stride(0) + b * x.stride(1) + h * x.stride(2);
}

/// Tokens [begin, begin + count) of `heads` neighbouring heads of one batch element: heads * count rows of K channels,
/// head after head. Kernels copy them together, since library products run a third faster on dense rows.
struct HeadRows {
  std::int64_t batch = 0, first_head = 0, heads = 1, begin = 0, count = 0;
  [[nodiscard]] std::int64_t rows() const { return heads * count; }
};

/// to[0, n) = from[0, n), of which n is often a head's 64 or 128 channels: without the call that std::copy_n makes.
template <class T>
inline void copy_channels(T* to, const T* from, std::int64_t n) {
  constexpr std::int64_t kPiece = 32;
  std::int64_t i = 0;
  for (; i + kPiece <= n; i += kPiece) std::memcpy(to + i, from + i, kPiece * sizeof(T));
  for (; i < n; ++i) to[i] = from[i];
}

/// Asks for n channels that are soon read: rows of one head lie too far apart for the processor to see them coming.
template <class T>
inline void prefetch_channels(const T* from, std::int64_t n) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  for (std::int64_t i = 0; i < n; i += kLine) __builtin_prefetch(from + i);
}
inline constexpr std::int64_t kRowsAhead = 16;

/// to[row] = x's rows.
template <class T>
void gather(T* to, const TensorView& x, const HeadRows& rows) {
  const std::int64_t K = x.dim(3);
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    const T* from = head_row<T>(x, rows.begin, rows.batch, rows.first_head + h);
    for (std::int64_t i = 0; i < rows.count; ++i, to += K) {
      if (i + kRowsAhead < rows.count) prefetch_channels(from + (i + kRowsAhead) * x.stride(0), K);
      copy_channels(to, from + i * x.stride(0), K);
    }
  }
}

/// x's rows = from[row].
template <class T>
void scatter(const TensorView& x, const HeadRows& rows, const T* from) {
  const std::int64_t K = x.dim(3);
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    T* to = head_row<T>(x, rows.begin, rows.batch, rows.first_head + h);
    for (std::int64_t i = 0; i < rows.count; ++i, from += K)
      copy_channels(to + i * x.stride(0), from, K);
  }
}

}  // namespace halo::kernels::cpu
