#include "kernels/softmax_attention.h"

#include "kernels/cuda/softmax_attention_cudnn.h"
#include "kernels/cuda/softmax_attention_tiles.cuh"

namespace halo::kernels::cuda {
namespace {

using namespace softmax_tiles;  // NOLINT: made for these kernels

template <class T>
struct Forward {
  HeadRows<T> q, k, v, o;
  HeadRows<float> lse;
  Mask mask;
  int B, H, G, K;
  float scale;  // of logits whose base is 2
};

/// The softmax of the warp's rows so far, relative to each row's largest logit. A lane sums its own columns.
template <class Tile>
struct OnlineSoftmax {
  float max[Tile::kRowTiles][2], sum[Tile::kRowTiles][2];

  __device__ OnlineSoftmax() {
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
      max[m][0] = max[m][1] = kMinusInfinity;
      sum[m][0] = sum[m][1] = 0;
    }
  }
  /// Logits become probabilities relative to their row's new largest, and so do the sums of those before.
  __device__ __forceinline__ void update(typename Tile::Logits& s, typename Tile::Sums& o) {
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
      update_row(s[m], o[m], m, 0);
      update_row(s[m], o[m], m, 1);
    }
  }
  /// Divides by the sums, which must be finished: rows that saw no key become 0.
  __device__ __forceinline__ void finish(typename Tile::Sums& o) {
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float total = sum[m][half] =
            quad([](float a, float b) { return a + b; }, sum[m][half]);
        scale_row(o[m], half, total == 0 ? 0.0f : 1 / total);
      }
    }
  }
  [[nodiscard]] __device__ float log_sum(int m, int half) const {
    return sum[m][half] == 0 ? kMinusInfinity : max[m][half] * kLn2 + logf(sum[m][half]);
  }

 private:
  template <class Op>
  static __device__ __forceinline__ float quad(const Op& op, float x) {
    x = op(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return op(x, __shfl_xor_sync(0xffffffffu, x, 2));
  }
  template <int N>
  static __device__ __forceinline__ void scale_row(float (&o)[N][4], int half, float factor) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      o[n][2 * half] *= factor;
      o[n][2 * half + 1] *= factor;
    }
  }
  template <int N, int M>
  __device__ __forceinline__ void update_row(float (&s)[N][4], float (&o)[M][4], int m, int half) {
    float highest = max[m][half];
#pragma unroll
    for (int n = 0; n < N; ++n) highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    highest = quad([](float a, float b) { return fmaxf(a, b); }, highest);
    const float base = highest == kMinusInfinity ? 0 : highest;
    const float shrink = mma::exp2_approx(max[m][half] - base);
    float total = 0;
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i)
        total += s[n][i] = mma::exp2_approx(s[n][i] - base);
    }
    scale_row(o, half, shrink);
    sum[m][half] = sum[m][half] * shrink + total;
    max[m][half] = highest;
  }
};

template <class Tile>
constexpr std::size_t kForwardBytes = (Tile::kRowElements + 2 * kStages * Tile::kColumnElements) *
                                          sizeof(typename Tile::T) +
                                      Tile::kRows * sizeof(int);

/// A block has the queries of one head's tile; late tiles, which see the most keys, first.
template <class Tile>
__global__ void __launch_bounds__(kThreads)
    attend(const __grid_constant__ Forward<typename Tile::T> x) {
  using T = typename Tile::T;
  extern __shared__ __align__(16) unsigned char memory[];
  T* const q = reinterpret_cast<T*>(memory);
  T* const k = q + Tile::kRowElements;
  T* const v = k + kStages * Tile::kColumnElements;
  int* const firsts = reinterpret_cast<int*>(v + kStages * Tile::kColumnElements);

  const int heads = x.B * x.H, block = static_cast<int>(blockIdx.x);
  const int b = block % heads / x.H, h = block % x.H, g = h / (x.H / x.G);
  const int t = (tiles_of(x.mask.T, Tile::kRows) - 1 - block / heads) * Tile::kRows;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * Tile::kWarpRows;
  T* const warp_q = q + warp_row * Tile::kStride;

  load_rows<Tile, Tile::kRows>(q, x.q, t, x.mask.T, b, h, x.K);
  const SeenKeys seen = load_seen_keys<Tile>(firsts, x.mask, t, b);
  typename Tile::Sums o = {};
  OnlineSoftmax<Tile> softmax;
  walk_keys<Tile>(
      seen, x.mask.end(t + warp_row + Tile::kWarpRows - 1),
      [&](int key, int stage) {
        const int at = stage * Tile::kColumnElements;
        load_rows<Tile, Tile::kColumns>(k + at, x.k, key, x.mask.S, b, g, x.K);
        load_rows<Tile, Tile::kColumns>(v + at, x.v, key, x.mask.S, b, g, x.K);
      },
      [&](int key, int stage, bool boundary) {
        const int at = stage * Tile::kColumnElements;
        typename Tile::Logits s = {};
        multiply<Tile>(s, warp_q, k + at);
        scale_all(s, x.scale);
        if (boundary)
          hide_unseen<Tile>(s, kMinusInfinity, x.mask, firsts + warp_row, t + warp_row, key);
        softmax.update(s, o);
        accumulate<Tile>(o, s, v + at);
      });
  softmax.finish(o);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2 * Tile::kRowTiles; ++i) {
    const int row = t + warp_row + 8 * i + lane / 4;
    if (lane % 4 == 0 && row < x.mask.T) *x.lse.at(row, b, h) = softmax.log_sum(i / 2, i % 2);
  }
  store_rows<Tile>(x.o, o, warp_q, t + warp_row, x.mask.T, b, h, x.K);
}

/// How many rows a warp takes is bounded by its registers, how many columns by them and by the shared memory.
template <class T, int kChannels>
using ForwardTile =
    std::conditional_t<std::is_same_v<T, float>,
                       Tile<T, kChannels, 1, kChannels <= 64 ? 64 : 4096 / kChannels>,
                       Tile<T, kChannels, kChannels <= 128 ? 2 : 1, kChannels <= 128 ? 64 : 32>>;

}  // namespace

void softmax_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       double scale, const AttentionMask& mask, Stream& stream) {
  if (o.size() == 0) return;
  if (softmax_attention_by_cudnn({q, k, v, o, lse}, scale, mask, stream)) return;
  const std::int64_t B = q.dim(1), H = q.dim(2), K = q.dim(3);
  dispatch_cuda_float(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Forward<T> arguments{HeadRows<T>(q),
                               HeadRows<T>(k),
                               HeadRows<T>(v),
                               HeadRows<T>(o),
                               HeadRows<float>(lse),
                               Mask(mask, q.dim(0), k.dim(0)),
                               static_cast<int>(B),
                               static_cast<int>(H),
                               static_cast<int>(k.dim(2)),
                               static_cast<int>(K),
                               static_cast<float>(scale) * kLog2e};
    dispatch_channels(K, [&](auto channels) {
      using Tile = ForwardTile<T, channels.value>;
      const std::int64_t tiles = tiles_of(arguments.mask.T, Tile::kRows);
      launch(attend<Tile>, tiles * B * H, kForwardBytes<Tile>, arguments, stream);
    });
  });
}

}  // namespace halo::kernels::cuda
