#pragma once
#include "core/base/tensor.h"
#include "kernels/cuda/lightning_tiles.cuh"
#include "kernels/lightning_attention.h"
#include "kernels/lightning_waiting.h"

namespace halo::kernels::cuda {

static_assert(kLightningChunk == kTile);
inline constexpr int kMaxLightningHeads = 128;  // what the kernels' parameters have room for

/// A parameter of all kernels.
struct Sequence {
  int tokens, batch, heads, key_heads, channels;
  float scale;
  const std::int32_t* document_start;           // null: no documents
  std::int64_t document_token, document_batch;  // its strides
  double slope[kMaxLightningHeads];

  [[nodiscard]] __host__ __device__ int chunks() const { return (tokens + kTile - 1) / kTile; }
  [[nodiscard]] __host__ __device__ int slices() const { return (channels + kTile - 1) / kTile; }
  [[nodiscard]] __host__ __device__ int group() const { return heads / key_heads; }
  [[nodiscard]] __device__ int start(int t, int b) const {
    return document_start == nullptr
               ? -1
               : __ldg(document_start + t * document_token + b * document_batch);
  }
};
/// Throws Error for more heads than kMaxLightningHeads.
[[nodiscard]] Sequence sequence_of(const LightningForward& x, const LightningOptions& options);

/// Chunks [begin, end) of each query head.
struct Windows {
  int begin[kMaxLightningHeads], end[kMaxLightningHeads];
  [[nodiscard]] __device__ bool contains(int head, int chunk) const {
    return begin[head] <= chunk && chunk < end[head];
  }
};
/// What a call does of a pass: all, what needs no state from outside, or the rest.
enum class Part : std::uint8_t { kAll, kBegin, kFinish };

/// A (K, K) state for each head and each chunk of its window, in room for chunks [first, first + count) of every head.
struct States {
  float* data;
  int first, count;
  Windows windows;
  [[nodiscard]] __device__ float* at(std::int64_t head, int chunk, int K) const {
    return data + (head * count + chunk - first) * K * K;
  }
  /// Its 64 x 64 part (i, j).
  [[nodiscard]] __device__ TileSource<float> tile(std::int64_t head, int chunk, int K, int i,
                                                  int j) const {
    return {at(head, chunk, K) + i * kTile * K + j * kTile, K, K - i * kTile, K - j * kTile,
            K % kPack<float> == 0};
  }
};
struct ChunkStates {
  Tensor memory;
  States states;
};

/// The states before the chunks of the windows, the first of them being state_in or zero. state_out: after the last.
[[nodiscard]] ChunkStates states_before(const Sequence& sequence, const Windows& windows,
                                        const LightningForward& x, const TensorView& state_out,
                                        Stream& stream);
/// The gradients of the states after the chunks of the windows, the last of them being dstate_out or zero. dstate_in:
/// before the first.
[[nodiscard]] ChunkStates gradients_after(const Sequence& sequence, const Windows& windows,
                                          const TensorView& q, const TensorView& d_o,
                                          const TensorView& dstate_out, const TensorView& dstate_in,
                                          Stream& stream);

/// One head's state (K, K), axes (key, value); data may be null.
struct StateMatrix {
  float* data;
  std::int64_t row;
};

/// States (B, H, K, K) of the caller; data may be null.
struct StateRows {
  float* data = nullptr;
  std::int64_t batch = 0, head = 0, row = 0;

  explicit StateRows(const TensorView& x) {
    if (x.empty()) return;
    data = data_of<float>(x);
    batch = x.stride(0), head = x.stride(1), row = x.stride(2);
  }
  [[nodiscard]] __device__ StateMatrix of(int b, int h) const {
    return {data == nullptr ? nullptr : data + b * batch + h * head, row};
  }
  [[nodiscard]] __device__ float* at(int b, int h, int i, int j) const {
    return data + b * batch + h * head + i * row + j;
  }
};

/// A view (T, B, heads, K) and whether its rows may be read in packs.
template <class T>
struct HeadRows {
  T* data;
  std::int64_t token, batch, head;
  bool packed;

  explicit HeadRows(const TensorView& x)
      : data(data_of<T>(x)), token(x.stride(0)), batch(x.stride(1)), head(x.stride(2)) {
    constexpr std::int64_t kWidth = kPack<T>;
    packed = cuda::packed<T>(x.dim(3), data) && token % kWidth == 0 && batch % kWidth == 0 &&
             head % kWidth == 0;
  }
};

/// Tokens [begin, begin + count) of batch element b, and where documents begin among them. Indices count from `begin`.
struct Chunk {
  int batch, begin, count;
  int continuing;  // tokens [0, continuing) see the state before the chunk
  int tail;        // tokens [tail, count) enter the state after the chunk

  template <class T>
  [[nodiscard]] __device__ TileSource<T> tile(const HeadRows<T>& x, int head, int slice,
                                              int K) const {
    return {x.data + begin * x.token + batch * x.batch + head * x.head + slice * kTile, x.token,
            count, K - slice * kTile, x.packed};
  }
};

/// What a block knows of its chunk and head, in shared memory.
struct ChunkTable {
  float power[kTile + 1];  // e^(-slope d)
  int seen[kTile];  // how many tokens before it each token sees; -1: not itself, being past the end

  __device__ __forceinline__ void set_powers(double slope) {
    for (int d = static_cast<int>(threadIdx.x); d <= kTile; d += kTileThreads)
      power[d] = static_cast<float>(exp(-slope * d));
  }
  /// Ends with a barrier.
  __device__ __forceinline__ Chunk open(const Sequence& x, int b, int index) {
    const int i = static_cast<int>(threadIdx.x), begin = index * kTile;
    const int count = min(kTile, x.tokens - begin);
    const int start = i < count ? x.start(begin + i, b) : -1;
    if (i < kTile) seen[i] = i < count ? i - max(start - begin, 0) : -1;
    const int continuing = __syncthreads_count(i < count && start < begin);
    return {b, begin, count, continuing, count - 1 - seen[count - 1]};
  }
  /// What multiplies the state before the chunk for token i.
  [[nodiscard]] __device__ __forceinline__ float from_start(const Chunk& chunk, float scale,
                                                            int i) const {
    return i < chunk.continuing ? scale * power[i + 1] : 0.0f;
  }
  /// What multiplies token j in the state after the chunk.
  [[nodiscard]] __device__ __forceinline__ float to_end(const Chunk& chunk, int j) const {
    return chunk.tail <= j && j < chunk.count ? power[chunk.count - 1 - j] : 0.0f;
  }
  /// products (i, j) *= scale e^(-slope (i - j)), or 0 where i does not see j.
  template <class T>
  __device__ __forceinline__ void decay_products(Sums<T>& products, float scale) const {
    const int thread = mma::thread_index();
#pragma unroll
    for (int p = 0; p < Sums<T>::kPairs; ++p) {
      const int row = Sums<T>::row(thread, p), back = row - Sums<T>::column(thread, p);
      float2& pair = products.pair[p];
      pair.x = sees(back, seen[row]) ? pair.x * scale * power[back] : 0.0f;
      pair.y = sees(back - 1, seen[row]) ? pair.y * scale * power[back - 1] : 0.0f;
    }
  }

 private:
  [[nodiscard]] static __device__ __forceinline__ bool sees(int back, int most) {
    return 0 <= back && back <= most;
  }
};

/// Kernels of whole tiles. `bytes` of shared memory may be more than the 48 KB that need no leave.
template <class... Parameters, class... Arguments>
void launch_tiles(void (*kernel)(Parameters...), std::int64_t blocks, std::size_t bytes,
                  Stream& stream, const Arguments&... arguments) {
  if (blocks == 0) return;
  HALO_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(bytes)));
  kernel<<<static_cast<unsigned>(blocks), kTileThreads, bytes, native(stream)>>>(arguments...);
  check_launch();
}

}  // namespace halo::kernels::cuda
