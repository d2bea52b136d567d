#include "kernels/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "core/base/tensor.h"
#include "kernels/cpu/loops.h"

namespace halo::kernels::cpu {
namespace {

// The weight's gradient is a sum over rows: tiles of kTileRows are summed apart, then added to their block's sum, then
// the blocks are added in order. The cuts depend on N alone; the short runs keep float32 sums exact.
constexpr std::int64_t kTileRows = 64;
constexpr std::int64_t kMaxBlocks = 64;

template <class T>
struct Rows {
  const T* dy;
  const T* x;
  const T* weight;
  const Wide<T>* inv_rms;
  std::int64_t D;
  const Wide<T>* dots;    // of whole rows; null: of these
  std::int64_t channels;  // of a whole row
};

template <class T>
Wide<T> squares_of(const T* row, std::int64_t D) {
  return sum_of<Wide<T>>(D, [=](std::int64_t d) { return row[d] * row[d]; });
}
template <class T>
Wide<T> dot_of(const T* dy, const T* x, const T* weight, std::int64_t D) {
  return sum_of<Wide<T>>(D, [=](std::int64_t d) { return dy[d] * weight[d] * x[d]; });
}

template <class T>
const Wide<T>* sums_or_null(const SplitRows& split) {
  return split.sums.empty() ? nullptr : split.sums.template as<Wide<T>>();
}

/// dx of row n, and its share of the weight's gradient where `dweight` is not null.
template <class T>
void backward_row(T* dx, Wide<T>* dweight, const Rows<T>& rows, std::int64_t n, bool accumulate) {
  const std::int64_t D = rows.D;
  const T* dy = rows.dy + n * D;
  const T* x = rows.x + n * D;
  const T* weight = rows.weight;
  const Wide<T> scale = rows.inv_rms[n];
  if (dweight != nullptr) {
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d) dweight[d] += dy[d] * (x[d] * scale);
  }
  const Wide<T> dot = rows.dots != nullptr ? rows.dots[n] : dot_of(dy, x, weight, D);
  const Wide<T> mean =
      dot * scale / static_cast<Wide<T>>(rows.channels);  // of dy * weight * x / rms
  if (accumulate) {
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d) dx[d] += scale * (dy[d] * weight[d] - x[d] * scale * mean);
  } else {
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d) dx[d] = scale * (dy[d] * weight[d] - x[d] * scale * mean);
  }
}

/// Rows [begin, end); `sums` holds two rows of D, of which the first gets the block's sum; or is null.
template <class T>
void backward_block(T* dx, Wide<T>* sums, const Rows<T>& rows, std::int64_t begin, std::int64_t end,
                    bool accumulate) {
  const std::int64_t D = rows.D;
  Wide<T>* const tile = sums == nullptr ? nullptr : sums + D;
  if (sums != nullptr) std::fill_n(sums, D, Wide<T>{0});
  for (std::int64_t first = begin; first < end; first += kTileRows) {
    if (tile != nullptr) std::fill_n(tile, D, Wide<T>{0});
    for (std::int64_t n = first; n < std::min(end, first + kTileRows); ++n) {
      backward_row(dx + n * D, tile, rows, n, accumulate);
    }
    if (tile == nullptr) continue;
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d) sums[d] += tile[d];
  }
}

/// dweight += the blocks' sums, in order.
template <class T>
void add_blocks(Wide<T>* dweight, Wide<T>* sums, std::int64_t blocks, std::int64_t D) {
  for (std::int64_t block = 1; block < blocks; ++block) {
    const Wide<T>* more = sums + block * 2 * D;
#pragma omp simd
    for (std::int64_t d = 0; d < D; ++d) sums[d] += more[d];
  }
  if (blocks == 0) return;
#pragma omp simd
  for (std::int64_t d = 0; d < D; ++d) dweight[d] += sums[d];
}

}  // namespace

void row_squares(TensorView sums, TensorView x, Stream& stream) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const to = sums.as<Wide<T>>();
    const auto* const from = x.as<T>();
    stream.parallel_for(N, D, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) to[n] = squares_of(from + n * D, D);
    });
  });
}

void row_dots(TensorView sums, TensorView dy, TensorView x, TensorView weight, Stream& stream) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const to = sums.as<Wide<T>>();
    const auto *const d = dy.as<T>(), *const from = x.as<T>(), *const w = weight.as<T>();
    stream.parallel_for(N, 2 * D, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) to[n] = dot_of(d + n * D, from + n * D, w, D);
    });
  });
}

void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream, const SplitRows& split) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  const std::int64_t channels = split.sums.empty() ? D : split.channels;
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const to = y.as<T>();
    auto* const scales = inv_rms.as<Wide<T>>();
    const auto* const from = x.as<T>();
    const auto* const w = weight.as<T>();
    const auto* const sums = sums_or_null<T>(split);
    stream.parallel_for(N, 2 * D, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const T* row = from + n * D;
        T* out = to + n * D;
        const Wide<T> squares = sums != nullptr ? sums[n] : squares_of(row, D);
        const Wide<T> scale =
            1 / std::sqrt(squares / static_cast<Wide<T>>(channels) + static_cast<Wide<T>>(eps));
        scales[n] = scale;
#pragma omp simd
        for (std::int64_t d = 0; d < D; ++d) out[d] = row[d] * scale * w[d];
      }
    });
  });
}

void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream,
                       const SplitRows& split) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Rows<T> rows{dy.as<T>(),
                       x.as<T>(),
                       weight.as<T>(),
                       inv_rms.as<Wide<T>>(),
                       D,
                       sums_or_null<T>(split),
                       split.sums.empty() ? D : split.channels};
    const std::int64_t tiles = (N + kTileRows - 1) / kTileRows;
    const std::int64_t blocks = std::min(kMaxBlocks, tiles);
    Tensor memory;
    if (!dweight.empty()) memory = Tensor(stream, {blocks, 2, D}, dweight.dtype);
    auto* const sums = memory.empty() ? nullptr : memory.view().as<Wide<T>>();
    auto* const to = dx.as<T>();
    stream.parallel_for(blocks, kTileRows * D * 4, [=](std::int64_t first, std::int64_t last) {
      for (std::int64_t block = first; block < last; ++block) {
        backward_block(to, sums == nullptr ? nullptr : sums + block * 2 * D, rows,
                       block * tiles / blocks * kTileRows,
                       std::min(N, (block + 1) * tiles / blocks * kTileRows), accumulate);
      }
    });
    if (sums != nullptr) add_blocks<T>(dweight.as<Wide<T>>(), sums, blocks, D);
  });
}

}  // namespace halo::kernels::cpu
