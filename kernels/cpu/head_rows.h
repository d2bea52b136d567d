#pragma once
#include <algorithm>
#include <cstdint>

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

/// to[row] = x's rows.
template <class T>
void gather(T* to, const TensorView& x, const HeadRows& rows) {
  const std::int64_t K = x.dim(3);
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    const T* from = head_row<T>(x, rows.begin, rows.batch, rows.first_head + h);
    for (std::int64_t i = 0; i < rows.count; ++i, to += K)
      std::copy_n(from + i * x.stride(0), K, to);
  }
}

/// x's rows = from[row].
template <class T>
void scatter(const TensorView& x, const HeadRows& rows, const T* from) {
  const std::int64_t K = x.dim(3);
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    T* to = head_row<T>(x, rows.begin, rows.batch, rows.first_head + h);
    for (std::int64_t i = 0; i < rows.count; ++i, from += K)
      std::copy_n(from, K, to + i * x.stride(0));
  }
}

}  // namespace halo::kernels::cpu
