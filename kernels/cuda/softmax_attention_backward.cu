#include "core/base/tensor.h"
#include "kernels/cuda/softmax_attention_cudnn.h"
#include "kernels/cuda/softmax_attention_tiles.cuh"

// Two passes, each of which computes the probabilities again: one owns keys and sums over queries, the other owns queries
// and sums over keys. Two products more than with atomic sums of dq, but every sum has one order, so bits repeat.
namespace halo::kernels::cuda {
namespace {

using namespace softmax_tiles;  // NOLINT: made for these kernels

template <class T>
struct Backward {
  HeadRows<T> q, k, v, o, d_o, dq, dk, dv;
  HeadRows<float> lse;
  Mask mask;
  int B, H, G, K;
  float scale;
  float2* rows =
      nullptr;  // (B, H, T) of a query's lse in base 2 (inf when it sees no key) and do * o
  int2* tile_firsts = nullptr;  // (B, tiles of queries) lowest and highest first key, or null
};

/// A warp a row.
template <class T>
__global__ void describe_rows(const __grid_constant__ Backward<T> x) {
  const std::int64_t count = std::int64_t{x.mask.T} * x.B * x.H;
  const int lane = threadIdx.x % 32;
  const std::int64_t first = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  for (std::int64_t i = first; i < count; i += std::int64_t{gridDim.x} * blockDim.x / 32) {
    const int h = static_cast<int>(i % x.H), b = static_cast<int>(i / x.H % x.B);
    const auto t = i / x.H / x.B;
    const T *const o = x.o.at(t, b, h), *const d_o = x.d_o.at(t, b, h);
    float delta = 0;
    if (x.o.packed && x.d_o.packed) {
      for (int c = lane * kPack<T>; c < x.K; c += 32 * kPack<T>) {
        const auto a = *reinterpret_cast<const Pack<T, kPack<T>>*>(o + c);
        const auto d = *reinterpret_cast<const Pack<T, kPack<T>>*>(d_o + c);
#pragma unroll
        for (int j = 0; j < kPack<T>; ++j) delta += to_float(a.at[j]) * to_float(d.at[j]);
      }
    } else {
      for (int c = lane; c < x.K; c += 32) delta += to_float(o[c]) * to_float(d_o[c]);
    }
    delta = warp_sum(delta);
    const float lse = *x.lse.at(t, b, h);
    if (lane == 0)
      x.rows[(std::int64_t{b} * x.H + h) * x.mask.T + t] =
          make_float2(lse == kMinusInfinity ? -kMinusInfinity : lse * kLog2e, delta);
  }
}

/// A warp a tile of `size` queries.
__global__ void find_tile_firsts(int2* firsts, const __grid_constant__ Mask mask, int B, int size) {
  const int tiles = tiles_of(mask.T, size);
  const int i = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  if (i >= B * tiles) return;
  const int t = i % tiles * size, b = i / tiles;
  int lowest = std::numeric_limits<int>::max(), highest = 0;
  for (int j = threadIdx.x % 32; j < size && t + j < mask.T; j += 32) {
    lowest = min(lowest, mask.first(t + j, b));
    highest = max(highest, mask.first(t + j, b));
  }
  lowest = __reduce_min_sync(0xffffffffu, lowest);
  highest = __reduce_max_sync(0xffffffffu, highest);
  if (threadIdx.x % 32 == 0) firsts[i] = make_int2(lowest, highest);
}

/// The tiles of queries that a block's keys meet: of each query head of the group in turn, those that see any of the keys
/// [key, end).
struct QueryWalk {
  struct Step {
    int head, tile;
  };
  const int2* firsts;  // of the batch element, or null
  int heads, first_tile, tiles, end;

  [[nodiscard]] __device__ bool done(const Step& step) const { return step.head == heads; }
  [[nodiscard]] __device__ Step from(Step step) const {
    for (; step.head < heads; step = {step.head + 1, first_tile}) {
      for (; step.tile < tiles; ++step.tile)
        if (firsts == nullptr || firsts[step.tile].x < end) return step;
    }
    return step;
  }
  [[nodiscard]] __device__ Step begin() const { return from({0, first_tile}); }
  [[nodiscard]] __device__ Step after(const Step& step) const {
    return from({step.head, step.tile + 1});
  }
};

/// What a block of the keys' pass holds in shared memory. Rows are keys, columns queries.
template <class Tile>
struct KeyPassMemory {
  using T = typename Tile::T;
  T *k, *v, *q, *d_o;
  float2* rows;
  int* firsts;

  explicit __device__ KeyPassMemory(unsigned char* memory)
      : k(reinterpret_cast<T*>(memory)),
        v(k + Tile::kRowElements),
        q(v + Tile::kRowElements),
        d_o(q + kStages * Tile::kColumnElements),
        rows(reinterpret_cast<float2*>(d_o + kStages * Tile::kColumnElements)),
        firsts(reinterpret_cast<int*>(rows + kStages * Tile::kColumns)) {}
  static constexpr std::size_t kBytes =
      2 * (Tile::kRowElements + kStages * Tile::kColumnElements) * sizeof(T) +
      kStages * Tile::kColumns * (sizeof(float2) + sizeof(int));

  /// Begins to bring the queries from t on of head h.
  __device__ __forceinline__ void load(const Backward<T>& x, int t, int b, int h, int stage) const {
    const int at = stage * Tile::kColumnElements;
    load_rows<Tile, Tile::kColumns>(q + at, x.q, t, x.mask.T, b, h, x.K);
    load_rows<Tile, Tile::kColumns>(d_o + at, x.d_o, t, x.mask.T, b, h, x.K);
    const int i = threadIdx.x, to = stage * Tile::kColumns + i;
    static_assert(Tile::kColumns <= kThreads);
    if (i >= Tile::kColumns) return;
    const bool valid = t + i < x.mask.T;
    const float2* const head = x.rows + (std::int64_t{b} * x.H + h) * x.mask.T;
    mma::copy_async<8>(rows + to, head + (valid ? t + i : 0), valid);
    if (x.mask.first_key != nullptr)
      mma::copy_async<4>(firsts + to, x.mask.first_at(valid ? t + i : 0, b), valid);
  }
};

/// p = e^(s - lse) of rows of keys from `key` on and columns of queries from `t` on; 0 where unseen.
template <class Tile>
__device__ __forceinline__ void probabilities(typename Tile::Logits& s, const Mask& mask,
                                              float scale, const float2* rows, const int* firsts,
                                              int key, int t, bool boundary) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < Tile::kColumns / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = 8 * n + lane % 4 * 2 + i;
      const float lse = rows[column].x;
      const int first = boundary && mask.first_key != nullptr ? firsts[column] : 0;
#pragma unroll
      for (int m = 0; m < 2 * Tile::kRowTiles; ++m) {
        const int j = key + 8 * m + lane / 4;
        float& p = s[m / 2][n][m % 2 * 2 + i];
        p = mma::exp2_approx(p * scale - lse);
        if (boundary && (j < first || j > t + column + mask.offset)) p = 0;
      }
    }
  }
}

/// p becomes the gradient of the logits but for their scale, of rows of values and columns of queries. The gradients of p
/// are there for 32 columns at a time: all of them would not fit the registers beside the sums.
template <class Tile>
__device__ __forceinline__ void differentiate_logits(typename Tile::Logits& p,
                                                     const typename Tile::T* v,
                                                     const typename Tile::T* d_o,
                                                     const float2* rows) {
  constexpr int kColumns = std::min(Tile::kColumns, 32);
  using Part = softmax_tiles::Tile<typename Tile::T, Tile::kChannels, Tile::kRowTiles, kColumns>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int first = 0; first < Tile::kColumns; first += kColumns) {
    typename Part::Logits dp = {};
    multiply<Part>(dp, v, d_o + first * Tile::kStride);
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float delta = rows[first + 8 * n + lane % 4 * 2 + i % 2].y;
#pragma unroll
        for (int m = 0; m < Tile::kRowTiles; ++m) p[m][first / 8 + n][i] *= dp[m][n][i] - delta;
      }
    }
  }
}

/// The keys' pass: a block has a tile of keys of one head, whose gradients it sums over the queries of the group's heads.
template <class Tile>
__global__ void __launch_bounds__(kThreads)
    differentiate_keys(const __grid_constant__ Backward<typename Tile::T> x) {
  extern __shared__ __align__(16) unsigned char memory[];
  const KeyPassMemory<Tile> shared(memory);
  const int groups = x.B * x.G, block = static_cast<int>(blockIdx.x), heads = x.H / x.G;
  const int b = block % groups / x.G, g = block % x.G;
  const int key = block / groups * Tile::kRows, end = min(key + Tile::kRows, x.mask.S);
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * Tile::kWarpRows;

  const int tiles = tiles_of(x.mask.T, Tile::kColumns);
  const int2* const firsts = x.tile_firsts == nullptr ? nullptr : x.tile_firsts + b * tiles;
  const QueryWalk walk{firsts, heads, max(key - x.mask.offset, 0) / Tile::kColumns, tiles, end};
  QueryWalk::Step step = walk.begin();
  const auto load = [&](const QueryWalk::Step& s, int stage) {
    shared.load(x, s.tile * Tile::kColumns, b, g * heads + s.head, stage);
  };
  load_rows<Tile, Tile::kRows>(shared.k, x.k, key, x.mask.S, b, g, x.K);
  load_rows<Tile, Tile::kRows>(shared.v, x.v, key, x.mask.S, b, g, x.K);
  if (!walk.done(step)) load(step, 0);

  typename Tile::Sums dk = {}, dv = {};
  for (int stage = 0; !walk.done(step); stage ^= 1) {
    const QueryWalk::Step next = walk.after(step);
    mma::wait_for_copies();
    __syncthreads();  // these queries are here, and nobody reads the ones before any more
    if (!walk.done(next)) load(next, stage ^ 1);
    const int t = step.tile * Tile::kColumns, at = stage * Tile::kColumnElements;
    const bool boundary =
        t + x.mask.offset + 1 < end || (firsts != nullptr && firsts[step.tile].y > key);
    step = next;
    if (t + Tile::kColumns + x.mask.offset <= key + warp_row) continue;  // before all of the warp's
    typename Tile::Logits p = {};
    const float2* const rows = shared.rows + stage * Tile::kColumns;
    multiply<Tile>(p, shared.k + warp_row * Tile::kStride, shared.q + at);
    probabilities<Tile>(p, x.mask, x.scale * kLog2e, rows, shared.firsts + stage * Tile::kColumns,
                        key + warp_row, t, boundary);
    accumulate<Tile>(dv, p, shared.d_o + at);
    differentiate_logits<Tile>(p, shared.v + warp_row * Tile::kStride, shared.d_o + at, rows);
    accumulate<Tile>(dk, p, shared.q + at);
  }
  mma::wait_for_copies();  // of the keys, when no query saw them
  __syncthreads();
  scale_all(dk, x.scale);
  store_rows<Tile>(x.dk, dk, shared.k + warp_row * Tile::kStride, key + warp_row, x.mask.S, b, g,
                   x.K);
  store_rows<Tile>(x.dv, dv, shared.v + warp_row * Tile::kStride, key + warp_row, x.mask.S, b, g,
                   x.K);
}

template <class Tile>
constexpr std::size_t kQueryPassBytes = 2 * (Tile::kRowElements + kStages * Tile::kColumnElements) *
                                            sizeof(typename Tile::T) +
                                        Tile::kRows*(sizeof(float2) + sizeof(int));

/// The queries' pass: a block has a tile of queries of one head; late ones, which see the most keys, first.
template <class Tile>
__global__ void __launch_bounds__(kThreads)
    differentiate_queries(const __grid_constant__ Backward<typename Tile::T> x) {
  using T = typename Tile::T;
  extern __shared__ __align__(16) unsigned char memory[];
  T* const q = reinterpret_cast<T*>(memory);
  T* const d_o = q + Tile::kRowElements;
  T* const k = d_o + Tile::kRowElements;
  T* const v = k + kStages * Tile::kColumnElements;
  float2* const rows = reinterpret_cast<float2*>(v + kStages * Tile::kColumnElements);
  int* const firsts = reinterpret_cast<int*>(rows + Tile::kRows);

  const int heads = x.B * x.H, block = static_cast<int>(blockIdx.x);
  const int b = block % heads / x.H, h = block % x.H, g = h / (x.H / x.G);
  const int t = (tiles_of(x.mask.T, Tile::kRows) - 1 - block / heads) * Tile::kRows;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * Tile::kWarpRows;
  const int lane = threadIdx.x % 32, warp_t = t + warp_row;

  load_rows<Tile, Tile::kRows>(q, x.q, t, x.mask.T, b, h, x.K);
  load_rows<Tile, Tile::kRows>(d_o, x.d_o, t, x.mask.T, b, h, x.K);
  for (int i = threadIdx.x; i < Tile::kRows; i += kThreads)
    rows[i] = x.rows[(std::int64_t{b} * x.H + h) * x.mask.T + min(t + i, x.mask.T - 1)];
  const SeenKeys seen = load_seen_keys<Tile>(firsts, x.mask, t, b);  // and a barrier
  typename Tile::Sums dq = {};
  walk_keys<Tile>(
      seen, x.mask.end(warp_t + Tile::kWarpRows - 1),
      [&](int key, int stage) {
        const int at = stage * Tile::kColumnElements;
        load_rows<Tile, Tile::kColumns>(k + at, x.k, key, x.mask.S, b, g, x.K);
        load_rows<Tile, Tile::kColumns>(v + at, x.v, key, x.mask.S, b, g, x.K);
      },
      [&](int key, int stage, bool boundary) {
        const int at = stage * Tile::kColumnElements;
        typename Tile::Logits p = {}, dp = {};
        multiply<Tile>(p, q + warp_row * Tile::kStride, k + at);
        multiply<Tile>(dp, d_o + warp_row * Tile::kStride, v + at);
#pragma unroll
        for (int m = 0; m < 2 * Tile::kRowTiles; ++m) {
          const float2 row = rows[warp_row + 8 * m + lane / 4];
#pragma unroll
          for (int n = 0; n < Tile::kColumns / 8; ++n) {
#pragma unroll
            for (int i = m % 2 * 2; i < m % 2 * 2 + 2; ++i) {
              float& s = p[m / 2][n][i];
              s = mma::exp2_approx(s * (x.scale * kLog2e) - row.x) * (dp[m / 2][n][i] - row.y);
            }
          }
        }
        if (boundary) hide_unseen<Tile>(p, 0.0f, x.mask, firsts + warp_row, warp_t, key);
        accumulate<Tile>(dq, p, k + at);
      });
  scale_all(dq, x.scale);
  store_rows<Tile>(x.dq, dq, q + warp_row * Tile::kStride, warp_t, x.mask.T, b, h, x.K);
}

template <int kChannels>
constexpr int kFloatColumns = kChannels <= 64    ? 64
                              : kChannels <= 128 ? 32
                                                 : 8;
template <class T, int kChannels>
using KeyPassTile = Tile<T, kChannels, 1,
                         std::is_same_v<T, float> ? kFloatColumns<kChannels>
                         : kChannels <= 128       ? 64
                                                  : 32>;
template <class T, int kChannels>
using QueryPassTile = std::conditional_t<std::is_same_v<T, float> || (kChannels > 128),
                                         KeyPassTile<T, kChannels>, Tile<T, kChannels, 2, 32>>;

template <class T, int kChannels>
void differentiate(Backward<T> x, Stream& stream) {
  using KeyTile = KeyPassTile<T, kChannels>;
  using QueryTile = QueryPassTile<T, kChannels>;
  const std::int64_t B = x.B, tiles = tiles_of(x.mask.T, KeyTile::kColumns);
  const Tensor rows(stream, {B, x.H, x.mask.T, 2}, DType::kFloat32);
  x.rows = reinterpret_cast<float2*>(rows.view().data);
  const std::int64_t queries = B * x.H * x.mask.T;
  Tensor tile_firsts;
  if (queries > 0) {
    describe_rows<T><<<blocks_for(queries, 8), 256, 0, native(stream)>>>(x);
    check_launch();
    if (x.mask.first_key != nullptr) {
      tile_firsts = Tensor(stream, {B, tiles, 2}, DType::kInt32);
      x.tile_firsts = reinterpret_cast<int2*>(tile_firsts.view().data);
      find_tile_firsts<<<blocks_for(B * tiles, 8), 256, 0, native(stream)>>>(
          x.tile_firsts, x.mask, x.B, KeyTile::kColumns);
      check_launch();
    }
    launch(differentiate_queries<QueryTile>,
           std::int64_t{tiles_of(x.mask.T, QueryTile::kRows)} * B * x.H, kQueryPassBytes<QueryTile>,
           x, stream);
  }
  const std::int64_t key_blocks = std::int64_t{tiles_of(x.mask.S, KeyTile::kRows)} * B * x.G;
  if (key_blocks > 0)
    launch(differentiate_keys<KeyTile>, key_blocks, KeyPassMemory<KeyTile>::kBytes, x, stream);
}

}  // namespace

void softmax_attention_backward(const AttentionGradients& gradients, TensorView d_o,
                                const AttentionForward& forward, double scale,
                                const AttentionMask& mask, Stream& stream) {
  if (softmax_attention_backward_by_cudnn(gradients, d_o, forward, scale, mask, stream.sum_order(),
                                          stream))
    return;
  const auto& [q, k, v, o, lse] = forward;
  dispatch_cuda_float(q.dtype, [&, &q = q, &k = k, &v = v, &o = o, &lse = lse](auto zero) {
    using T = decltype(zero);
    const Backward<T> x{HeadRows<T>(q),
                        HeadRows<T>(k),
                        HeadRows<T>(v),
                        HeadRows<T>(o),
                        HeadRows<T>(d_o),
                        HeadRows<T>(gradients.dq),
                        HeadRows<T>(gradients.dk),
                        HeadRows<T>(gradients.dv),
                        HeadRows<float>(lse),
                        Mask(mask, q.dim(0), k.dim(0)),
                        static_cast<int>(q.dim(1)),
                        static_cast<int>(q.dim(2)),
                        static_cast<int>(k.dim(2)),
                        static_cast<int>(q.dim(3)),
                        static_cast<float>(scale)};
    dispatch_channels(q.dim(3),
                      [&](auto channels) { differentiate<T, channels.value>(x, stream); });
  });
}

}  // namespace halo::kernels::cuda
