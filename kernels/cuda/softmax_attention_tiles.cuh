#pragma once
#include <limits>
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/softmax_attention.h"

/// Tiles of the softmax attention kernels. A block owns rows (queries, or keys in the pass for their gradients) and walks
/// over columns (keys, or queries), a tile of either at a time in shared memory. Each warp has 16 * kRowTiles of the rows
/// and works by two products: `multiply`, rows times columns over the channels, and `accumulate`, what became of that
/// times the columns' values. bfloat16 runs on the tensor cores; float32 holds the same elements in the same lanes.
namespace halo::kernels::cuda::softmax_tiles {

inline constexpr int kWarps = 4, kThreads = 32 * kWarps;
inline constexpr int kStages = 2;  // of columns: one is computed with while the next one comes
inline constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

template <class Real, int kChannels_, int kRowTiles_, int kColumns_>
struct Tile {
  using T = Real;
  static constexpr int kChannels = kChannels_;  // K and zeros
  static constexpr int kRowTiles = kRowTiles_;
  static constexpr int kWarpRows = 16 * kRowTiles, kRows = kWarps * kWarpRows;
  static constexpr int kColumns = kColumns_;
  // An odd number of 16 bytes, so that 8 neighbouring rows lie in different banks.
  static constexpr int kStride = kChannels + kPack<T>;
  static constexpr int kRowElements = kRows * kStride, kColumnElements = kColumns * kStride;
  using Logits = float[kRowTiles][kColumns / 8][4];
  using Sums = float[kRowTiles][kChannels / 8][4];
};

/// The rows (K) of a view (T, B, H, K), or its elements when it is (T, B, H).
template <class T>
struct HeadRows {
  T* data;
  std::int64_t t_stride, b_stride, h_stride;
  bool packed;  // every row may be read and written in 16 bytes

  explicit HeadRows(const TensorView& x)
      : data(data_of<T>(x)),
        t_stride(x.stride(0)),
        b_stride(x.stride(1)),
        h_stride(x.stride(2)),
        packed(kernels::cuda::packed<T>(x.dim(-1), data) && x.rank() == 4) {
    for (int axis = 0; axis < 3; ++axis)
      packed = packed && (x.dim(axis) == 1 || x.stride(axis) % kPack<T> == 0);
  }
  [[nodiscard]] __device__ T* at(std::int64_t t, int b, int h) const {
    return data + t * t_stride + b * b_stride + h * h_stride;
  }
};

/// AttentionMask with what it needs to know of the shapes.
struct Mask {
  const std::int32_t* first_key = nullptr;
  std::int64_t t_stride = 0, b_stride = 0;
  int offset, T, S;

  Mask(const AttentionMask& mask, std::int64_t queries, std::int64_t keys)
      : offset(static_cast<int>(std::min(mask.query_offset, keys))),
        T(static_cast<int>(queries)),
        S(static_cast<int>(keys)) {
    if (mask.first_key.empty()) return;
    first_key = data_of<const std::int32_t>(mask.first_key);
    t_stride = mask.first_key.stride(0);
    b_stride = mask.first_key.stride(1);
  }
  [[nodiscard]] __device__ const std::int32_t* first_at(int t, int b) const {
    return first_key + t * t_stride + b * b_stride;
  }
  [[nodiscard]] __device__ int first(int t, int b) const {
    return first_key == nullptr ? 0 : max(*first_at(t, b), 0);
  }
  [[nodiscard]] __device__ int end(int t) const { return min(t + offset + 1, S); }
};

/// Begins to copy rows [first, first + kRows) of one head to shared memory; zeros past `limit` and past K channels.
template <class Tile, int kRows>
__device__ __forceinline__ void load_rows(typename Tile::T* to,
                                          const HeadRows<typename Tile::T>& from, int first,
                                          int limit, int b, int h, int K) {
  using T = typename Tile::T;
  constexpr int kPacks = Tile::kChannels / kPack<T>, kStep = kThreads / kPacks;
  static_assert(kThreads % kPacks == 0 && kRows % kStep == 0);
  const int channel = static_cast<int>(threadIdx.x) % kPacks * kPack<T>;
#pragma unroll
  for (int i = 0; i < kRows / kStep; ++i) {
    const int row = static_cast<int>(threadIdx.x) / kPacks + i * kStep, t = first + row;
    T* const pack = to + row * Tile::kStride + channel;
    if (from.packed) {
      const bool valid = t < limit && channel < K;
      mma::copy_async<16>(pack, valid ? from.at(t, b, h) + channel : from.data, valid);
    } else {
      for (int j = 0; j < kPack<T>; ++j) {
        const bool valid = t < limit && channel + j < K;
        pack[j] = valid ? from.at(t, b, h)[channel + j] : from_float<T>(0.0f);
      }
    }
  }
}

/// Writes a warp's sums as rows [first, first + kWarpRows) before `limit` of one head, by way of `staging`: rows in shared
/// memory that this warp alone still uses.
template <class Tile>
__device__ __forceinline__ void store_rows(const HeadRows<typename Tile::T>& to,
                                           const typename Tile::Sums& sums,
                                           typename Tile::T* staging, int first, int limit, int b,
                                           int h, int K) {
  using T = typename Tile::T;
  const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < Tile::kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < Tile::kChannels / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        staging[(16 * m + row + i / 2 * 8) * Tile::kStride + 8 * n + column + i % 2] =
            from_float<T>(sums[m][n][i]);
    }
  }
  __syncwarp();
  constexpr int kPacks = Tile::kChannels / kPack<T>;
  for (int i = lane; i < Tile::kWarpRows * kPacks; i += 32) {
    const int t = first + i / kPacks, channel = i % kPacks * kPack<T>;
    if (t >= limit || channel >= K) continue;
    const T* const pack = staging + i / kPacks * Tile::kStride + channel;
    T* const out = to.at(t, b, h) + channel;
    if (to.packed) {
      *reinterpret_cast<Pack<T, kPack<T>>*>(out) =
          *reinterpret_cast<const Pack<T, kPack<T>>*>(pack);
    } else {
      for (int j = 0; j < kPack<T> && channel + j < K; ++j) out[j] = pack[j];
    }
  }
}

/// s += rows columns^T over the channels, of the warp's rows and a tile of columns.
template <class Tile>
__device__ __forceinline__ void multiply(typename Tile::Logits& s, const __nv_bfloat16* rows,
                                         const __nv_bfloat16* columns) {
  const int lane = threadIdx.x % 32;
  rows += lane % 16 * Tile::kStride + lane / 16 * 8;
  columns += (lane % 8 + lane / 16 * 8) * Tile::kStride + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < Tile::kChannels; k += 16) {
    std::uint32_t a[Tile::kRowTiles][4], b[4];
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m)
      mma::load_matrices(a[m], rows + 16 * m * Tile::kStride + k);
#pragma unroll
    for (int n = 0; n < Tile::kColumns / 8; n += 2) {
      mma::load_matrices(b, columns + 8 * n * Tile::kStride + k);
#pragma unroll
      for (int m = 0; m < Tile::kRowTiles; ++m) {
        mma::multiply_add(s[m][n], a[m], b[0], b[1]);
        mma::multiply_add(s[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

template <class Tile>
__device__ __forceinline__ void multiply(typename Tile::Logits& s, const float* rows,
                                         const float* columns) {
  const int lane = threadIdx.x % 32;
  const auto at = [](const float* x, int row, int k) {
    return *reinterpret_cast<const float4*>(x + row * Tile::kStride + k);
  };
#pragma unroll 2
  for (int k = 0; k < Tile::kChannels; k += 4) {
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
      const float4 a[2] = {at(rows, 16 * m + lane / 4, k), at(rows, 16 * m + lane / 4 + 8, k)};
#pragma unroll
      for (int n = 0; n < Tile::kColumns / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float4 x = a[i / 2], y = at(columns, 8 * n + lane % 4 * 2 + i % 2, k);
          s[m][n][i] += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
        }
      }
    }
  }
}

__device__ __forceinline__ std::uint32_t packed_pair(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

/// sums += p columns, p as `multiply` left it, rounded to bfloat16.
template <class Tile>
__device__ __forceinline__ void accumulate(typename Tile::Sums& sums,
                                           const typename Tile::Logits& p,
                                           const __nv_bfloat16* columns) {
  const int lane = threadIdx.x % 32;
  columns += lane % 16 * Tile::kStride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < Tile::kColumns / 8; k += 2) {
    std::uint32_t a[Tile::kRowTiles][4], b[4];
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const pair = &p[m][k + i / 2][i % 2 * 2];
        a[m][i] = packed_pair(pair[0], pair[1]);
      }
    }
#pragma unroll
    for (int n = 0; n < Tile::kChannels / 8; n += 2) {
      mma::load_transposed(b, columns + 8 * k * Tile::kStride + 8 * n);
#pragma unroll
      for (int m = 0; m < Tile::kRowTiles; ++m) {
        mma::multiply_add(sums[m][n], a[m], b[0], b[1]);
        mma::multiply_add(sums[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

template <class Tile>
__device__ __forceinline__ void accumulate(typename Tile::Sums& sums,
                                           const typename Tile::Logits& p, const float* columns) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < Tile::kColumns; ++k) {
    float a[Tile::kRowTiles][2];
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i)
        a[m][i] = __shfl_sync(0xffffffffu, p[m][k / 8][2 * i + k % 2], lane / 4 * 4 + k % 8 / 2);
    }
#pragma unroll
    for (int n = 0; n < Tile::kChannels / 8; ++n) {
      const auto b =
          *reinterpret_cast<const float2*>(columns + k * Tile::kStride + 8 * n + lane % 4 * 2);
#pragma unroll
      for (int m = 0; m < Tile::kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += a[m][i / 2] * (i % 2 == 0 ? b.x : b.y);
      }
    }
  }
}

/// The keys that a block's queries see: none outside [begin, end), and each query those of [all_begin, all_end).
struct SeenKeys {
  int begin, end, all_begin, all_end;
};
/// Of the queries from t on; `firsts` (kRows, in shared memory) gets the first key of each.
template <class Tile>
__device__ __forceinline__ SeenKeys load_seen_keys(int* firsts, const Mask& mask, int t, int b) {
  for (int i = threadIdx.x; i < Tile::kRows; i += kThreads)
    firsts[i] = mask.first(min(t + i, mask.T - 1), b);
  __syncthreads();
  int lowest = firsts[threadIdx.x % 32], highest = lowest;
  for (int i = threadIdx.x % 32 + 32; i < Tile::kRows; i += 32) {
    lowest = min(lowest, firsts[i]);
    highest = max(highest, firsts[i]);
  }
  return {__reduce_min_sync(0xffffffffu, lowest) / Tile::kColumns * Tile::kColumns,
          mask.end(min(t + Tile::kRows, mask.T) - 1), __reduce_max_sync(0xffffffffu, highest),
          mask.end(t)};
}

/// load(key, stage) then compute(key, stage, boundary) of every tile of keys that is seen; `boundary` tiles hold keys that
/// some query doesn't see. A warp computes with the tiles before warp_end alone. All copies have come when it returns.
template <class Tile, class Load, class Compute>
__device__ __forceinline__ void walk_keys(const SeenKeys& seen, int warp_end, const Load& load,
                                          const Compute& compute) {
  if (seen.begin < seen.end) load(seen.begin, 0);
  int stage = 0;
  for (int key = seen.begin; key < seen.end; key += Tile::kColumns) {
    mma::wait_for_copies();
    __syncthreads();  // this tile is here, and nobody reads the one before any more
    const int next = key + Tile::kColumns;
    if (next < seen.end) load(next, stage ^ 1);
    if (key < warp_end) compute(key, stage, key < seen.all_begin || next > seen.all_end);
    stage ^= 1;
  }
  mma::wait_for_copies();  // of the block's rows, when no key was seen
  __syncthreads();
}

/// What belongs to keys from `key` on that the warp's queries, the first of them `t`, don't see becomes `hidden`.
template <class Tile>
__device__ __forceinline__ void hide_unseen(typename Tile::Logits& s, float hidden,
                                            const Mask& mask, const int* firsts, int t, int key) {
  const int lane = threadIdx.x % 32;
  key += lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < Tile::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * m + 8 * half + lane / 4;
      const int first = firsts[row], end = mask.end(t + row);
#pragma unroll
      for (int n = 0; n < Tile::kColumns / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int j = key + 8 * n + i;
          if (j < first || j >= end) s[m][n][2 * half + i] = hidden;
        }
      }
    }
  }
}

template <class Sums>
__device__ __forceinline__ void scale_all(Sums& sums, float factor) {
  for (auto& row_tile : sums)
    for (auto& part : row_tile)
      for (float& x : part) x *= factor;
}

/// body(std::integral_constant) of the channels that a tile has for K.
template <class Body>
void dispatch_channels(std::int64_t K, Body&& body) {
  if (K <= 32) return body(std::integral_constant<int, 32>{});
  if (K <= 64) return body(std::integral_constant<int, 64>{});
  if (K <= 128) return body(std::integral_constant<int, 128>{});
  if (K <= 256) return body(std::integral_constant<int, 256>{});
  throw Error(str("softmax attention on a GPU: heads of ", K, " channels, more than 256"));
}

/// Queues blocks of kThreads threads that take `bytes` of shared memory.
template <class Arguments>
void launch(void (*kernel)(Arguments), std::int64_t blocks, std::size_t bytes,
            const Arguments& arguments, const Stream& stream) {
  HALO_REQUIRE(blocks <= std::numeric_limits<std::int32_t>::max(),
               str("softmax attention: ", blocks, " tiles, more than a grid has"));
  HALO_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(bytes)));
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, native(stream)>>>(arguments);
  check_launch();
}

[[nodiscard]] __host__ __device__ constexpr int tiles_of(int n, int size) {
  return (n + size - 1) / size;
}

}  // namespace halo::kernels::cuda::softmax_tiles
