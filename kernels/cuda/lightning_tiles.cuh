#pragma once
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"

namespace halo::kernels::cuda {

// Lightning attention is made of products of 64 x 64 tiles: a chunk has 64 tokens, and channels are taken 64 at a time.
// bfloat16 tiles are multiplied by tensor cores, float32 ones by FMAs; sums are float32.

inline constexpr int kTile = 64;
inline constexpr int kTileThreads = 128;  // of a block

/// In shared memory. Pitches keep rows and columns in different banks (and rows of bfloat16 at 16 bytes, for copies).
template <class T>
struct alignas(16) Tile {
  static constexpr int kPitch = std::is_same_v<T, float> ? kTile + 1 : kTile + 8;
  T at[kTile][kPitch];

  /// N neighbours, at a column that N divides.
  template <int N>
  __device__ __forceinline__ void set(int row, int column, const Pack<T, N>& pack) {
    if constexpr (std::is_same_v<T, float>) {
#pragma unroll
      for (int e = 0; e < N; ++e) at[row][column + e] = pack.at[e];
    } else {
      *reinterpret_cast<Pack<T, N>*>(&at[row][column]) = pack;
    }
  }
  template <int N>
  [[nodiscard]] __device__ __forceinline__ Pack<T, N> get(int row, int column) const {
    if constexpr (std::is_same_v<T, float>) {
      Pack<T, N> pack;
#pragma unroll
      for (int e = 0; e < N; ++e) pack.at[e] = at[row][column + e];
      return pack;
    } else {
      return *reinterpret_cast<const Pack<T, N>*>(&at[row][column]);
    }
  }
};

/// 64 x 64 sums of a block: each thread has 16 pairs of neighbouring columns.
template <class T>
struct Sums {
  static constexpr int kPairs = 16;
  float2 pair[kPairs];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int p = 0; p < kPairs; ++p) pair[p] = {0, 0};
  }
  static __device__ __forceinline__ int row(int thread, int p) {
    if constexpr (std::is_same_v<T, float>) return thread / 16 + p / 2 * 8;
    return thread / 32 * 16 + thread % 32 / 4 + p % 2 * 8;
  }
  static __device__ __forceinline__ int column(int thread, int p) {
    if constexpr (std::is_same_v<T, float>) return thread % 16 * 2 + p % 2 * 32;
    return thread % 4 * 2 + p / 2 * 8;
  }
  /// Row i is multiplied by factor(i); 0 gives 0, of whatever.
  template <class Factor>
  __device__ __forceinline__ void scale_rows(Factor factor) {
    const int thread = mma::thread_index();
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const float f = factor(row(thread, p));
      pair[p] = f == 0 ? float2{0, 0} : float2{pair[p].x * f, pair[p].y * f};
    }
  }
  __device__ __forceinline__ void add(const Sums& other) {
#pragma unroll
    for (int p = 0; p < kPairs; ++p)
      pair[p] = {pair[p].x + other.pair[p].x, pair[p].y + other.pair[p].y};
  }
  __device__ __forceinline__ void store(Tile<T>& tile) const {
    const int thread = mma::thread_index();
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const Pack<T, 2> rounded{{from_float<T>(pair[p].x), from_float<T>(pair[p].y)}};
      tile.set(row(thread, p), column(thread, p), rounded);
    }
  }
};

/// sums += a b, of which either may be transposed. Each warp has 16 rows of the sums.
template <bool kTransposeA, bool kTransposeB>
__device__ __forceinline__ void add_product(Sums<__nv_bfloat16>& sums, const Tile<__nv_bfloat16>& a,
                                            const Tile<__nv_bfloat16>& b) {
  const int thread = mma::thread_index(), lane = thread % 32, rows = thread / 32 * 16;
  const int near = lane % 16, far = lane % 8 + lane / 16 * 8;  // matrices go down first, or across
  const int across = lane / 16 * 8, down = lane / 8 % 2 * 8;
#pragma unroll 2  // by 4 the gradients' kernel spills
  for (int k = 0; k < kTile; k += 16) {
    std::uint32_t left[4];
    mma::load_matrices_of<kTransposeA>(
        left, kTransposeA ? &a.at[k + far][rows + down] : &a.at[rows + near][k + across]);
#pragma unroll
    for (int n = 0; n < kTile; n += 16) {
      std::uint32_t right[4];
      mma::load_matrices_of<!kTransposeB>(
          right, kTransposeB ? &b.at[n + far][k + down] : &b.at[k + near][n + across]);
      float2* const to = sums.pair + n / 4;
      mma::multiply_add(to[0], to[1], left, right[0], right[1]);
      mma::multiply_add(to[2], to[3], left, right[2], right[3]);
    }
  }
}

template <bool kTransposeA, bool kTransposeB>
__device__ __forceinline__ void add_product(Sums<float>& sums, const Tile<float>& a,
                                            const Tile<float>& b) {
  const int thread = mma::thread_index();
#pragma unroll 4
  for (int k = 0; k < kTile; ++k) {
    float left[8], right[4];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = Sums<float>::row(thread, 2 * i);
      left[i] = kTransposeA ? a.at[k][row] : a.at[row][k];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int column = Sums<float>::column(thread, j / 2) + j % 2;
      right[j] = kTransposeB ? b.at[column][k] : b.at[k][column];
    }
#pragma unroll
    for (int p = 0; p < Sums<float>::kPairs; ++p) {
      float2& to = sums.pair[p];
      to.x = fmaf(left[p / 2], right[p % 2 * 2], to.x);
      to.y = fmaf(left[p / 2], right[p % 2 * 2 + 1], to.y);
    }
  }
}

/// Where a tile lies in global memory: rows and columns past its end are zeros in the tile, and not written back.
template <class T>
struct TileSource {
  T* data;
  std::int64_t stride;  // of rows
  int rows, columns;
  bool packed;
};

/// Element by element, and not unrolled: registers are for what is read in packs.
template <class T, class From>
__device__ __forceinline__ void load_elements(Tile<T>& tile, const TileSource<From>& from) {
#pragma unroll 1
  for (int i = mma::thread_index(); i < kTile * kTile; i += kTileThreads) {
    const int row = i / kTile, column = i % kTile;
    const bool there = row < from.rows && column < from.columns;
    tile.at[row][column] =
        from_float<T>(there ? to_float(from.data[row * from.stride + column]) : 0.0f);
  }
}

/// Begins to fill the tile; await_tiles ends it.
template <class T>
__device__ __forceinline__ void load_tile(Tile<T>& tile, const TileSource<T>& from) {
  if (!from.packed) return load_elements(tile, from);
  constexpr int kWidth = kPack<T>, kAcross = kTile / kWidth;
  const int first = mma::thread_index(), column = first % kAcross * kWidth;
#pragma unroll
  for (int p = 0; p < kTile * kAcross / kTileThreads; ++p) {
    const int i = first / kAcross + p * (kTileThreads / kAcross);
    const bool there = i < from.rows && column < from.columns;
    const T* const data = from.data + (there ? i * from.stride + column : 0);
    if constexpr (std::is_same_v<T, float>)
      tile.set(i, column,
               there ? *reinterpret_cast<const Pack<T, kWidth>*>(data) : Pack<T, kWidth>{});
    else
      mma::copy_async<16>(&tile.at[i][column], data, there);
  }
}

/// Values of float32 as T. A few loads come first, so that they are under way together.
template <class T>
__device__ __forceinline__ void load_rounded(Tile<T>& tile, const TileSource<float>& from) {
  if (!from.packed) return load_elements(tile, from);
  constexpr int kWidth = 4, kAcross = kTile / kWidth, kStep = kTileThreads / kAcross, kAhead = 4;
  const int first = mma::thread_index(), column = first % kAcross * kWidth;
#pragma unroll
  for (int row = 0; row < kTile; row += kAhead * kStep) {
    Pack<float, kWidth> packs[kAhead];
#pragma unroll
    for (int p = 0; p < kAhead; ++p) {
      const int i = row + p * kStep + first / kAcross;
      packs[p] = {};
      if (i < from.rows && column < from.columns)
        packs[p] =
            *reinterpret_cast<const Pack<float, kWidth>*>(from.data + i * from.stride + column);
    }
#pragma unroll
    for (int p = 0; p < kAhead; ++p) {
      Pack<T, kWidth> rounded;
#pragma unroll
      for (int e = 0; e < kWidth; ++e) rounded.at[e] = from_float<T>(packs[p].at[e]);
      tile.set(row + p * kStep + first / kAcross, column, rounded);
    }
  }
}

/// The tiles that any thread has begun to load are there.
__device__ __forceinline__ void await_tiles() {
  mma::wait_for_copies();
  __syncthreads();
}

template <class T>
__device__ __forceinline__ void write_tile(const TileSource<T>& to, const Tile<T>& tile) {
  constexpr int kWidth = kPack<T>, kAcross = kTile / kWidth;
  for (int i = mma::thread_index(); i < kTile * kAcross; i += kTileThreads) {
    const int row = i / kAcross, column = i % kAcross * kWidth;
    if (row >= to.rows || column >= to.columns) continue;
    T* const data = to.data + row * to.stride + column;
    if (to.packed) {
      *reinterpret_cast<Pack<T, kWidth>*>(data) = tile.template get<kWidth>(row, column);
    } else {
      for (int e = 0; e < kWidth && column + e < to.columns; ++e)
        data[e] = tile.at[row][column + e];
    }
  }
}

}  // namespace halo::kernels::cuda
