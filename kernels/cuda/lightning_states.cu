#include <algorithm>

#include "kernels/cuda/lightning_chunks.cuh"

namespace halo::kernels::cuda {
namespace {

template <class T>
struct ContributionTiles {
  ChunkTable table;
  float factor[kTile];
  Tile<T> x, y;
};

/// What a chunk's tokens give to a state: the decayed keys and the values to that after the chunk (kFromStart false), the
/// decayed queries and the gradients of the outputs to the gradient of that before it. A block makes 64 x 64 elements.
template <class T, bool kFromStart>
__global__ void __launch_bounds__(kTileThreads, 6)
    contribute(const __grid_constant__ Sequence sequence, const HeadRows<T> x, const HeadRows<T> y,
               const __grid_constant__ States to) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<ContributionTiles<T>*>(shared_memory);
  const int K = sequence.channels, slices = sequence.slices(), H = sequence.heads;
  auto block = static_cast<int>(blockIdx.x);
  const int j = block % slices, i = block / slices % slices;
  block /= slices * slices;
  const int h = block % H, b = block / H % sequence.batch,
            c = to.first + block / H / sequence.batch;
  if (!to.windows.contains(h, c)) return;
  const int head = kFromStart ? h : h / sequence.group();

  shared.table.set_powers(sequence.slope[h]);
  const Chunk chunk = shared.table.open(sequence, b, c);
  load_tile(shared.x, chunk.tile(x, head, i, K));
  load_tile(shared.y, chunk.tile(y, head, j, K));
  if (const int t = static_cast<int>(threadIdx.x); t < kTile)
    shared.factor[t] = kFromStart ? shared.table.from_start(chunk, sequence.scale, t)
                                  : shared.table.to_end(chunk, t);
  await_tiles();
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile / 2; e += kTileThreads) {
    const int row = e / (kTile / 2), column = e % (kTile / 2) * 2;
    const float factor = shared.factor[row];
    Pack<T, 2> pack = shared.x.template get<2>(row, column);
    for (T& value : pack.at) value = from_float<T>(factor == 0 ? 0.0f : to_float(value) * factor);
    shared.x.set(row, column, pack);
    if (factor == 0) shared.y.set(row, column, pack);  // zeros too: not a NaN of another document
  }
  __syncthreads();
  Sums<T> sums;
  sums.clear();
  add_product<true, false>(sums, shared.x, shared.y);

  const int thread = mma::thread_index();
  const TileSource<float> out = to.tile(b * H + h, c, K, i, j);
#pragma unroll
  for (int p = 0; p < Sums<T>::kPairs; ++p) {
    const int row = Sums<T>::row(thread, p), column = Sums<T>::column(thread, p);
    if (row >= out.rows || column >= out.columns) continue;
    float* const data = out.data + row * out.stride + column;
    if (out.packed) {
      *reinterpret_cast<float2*>(data) = sums.pair[p];
    } else {
      data[0] = sums.pair[p].x;
      if (column + 1 < out.columns) data[1] = sums.pair[p].y;
    }
  }
}

constexpr int kChunksAhead = 8;

/// Chunk after chunk of the windows, or from the last to the first: each contribution becomes the state on its side where
/// the sum comes from. A thread has one element of one head.
template <bool kReverse>
__global__ void __launch_bounds__(kTileThreads)
    sum_up(const __grid_constant__ Sequence x, const __grid_constant__ States states,
           const StateRows in, const StateRows out) {
  const int K = x.channels, H = x.heads;
  const auto across = static_cast<unsigned>((K * K + kTileThreads - 1) / kTileThreads);
  const auto element = static_cast<int>(blockIdx.x % across * kTileThreads + threadIdx.x);
  const auto head = static_cast<int>(blockIdx.x / across);
  const int b = head / H, h = head % H, i = element / K, j = element % K;
  if (element >= K * K) return;
  const int begin = states.windows.begin[h], end = states.windows.end[h];
  const auto kept = static_cast<float>(exp(-x.slope[h] * kTile));
  const auto kept_by_last =
      static_cast<float>(exp(-x.slope[h] * (x.tokens - (x.chunks() - 1) * kTile)));

  float state = in.data == nullptr ? 0.0f : *in.at(b, h, i, j);
  for (int done = begin; done < end; done += kChunksAhead) {
    float own[kChunksAhead], factor[kChunksAhead];
#pragma unroll
    for (int u = 0; u < kChunksAhead; ++u) {
      if (done + u >= end) break;
      const int c = kReverse ? begin + end - 1 - (done + u) : done + u;
      own[u] = states.at(head, c, K)[element];
      const bool carries = x.start(min((c + 1) * kTile, x.tokens) - 1, b) < c * kTile;
      factor[u] = !carries ? 0.0f : c + 1 == x.chunks() ? kept_by_last : kept;
    }
#pragma unroll
    for (int u = 0; u < kChunksAhead; ++u) {
      if (done + u >= end) break;
      const int c = kReverse ? begin + end - 1 - (done + u) : done + u;
      states.at(head, c, K)[element] = state;
      state = factor[u] == 0 ? own[u] : fmaf(factor[u], state, own[u]);
    }
  }
  if (out.data != nullptr) *out.at(b, h, i, j) = state;
}

__global__ void carry(float* to, const float* in, const float* own, const float* kept,
                      std::int64_t heads, std::int64_t size) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < heads * size; i += step)
    to[i] = fmaf(kept[i / size], in[i], own[i]);
}

/// Memory for the states of all chunks that any head's window has.
ChunkStates room_for(const Sequence& x, const Windows& windows, Stream& stream) {
  const int first = *std::min_element(windows.begin, windows.begin + x.heads);
  const int count = std::max(*std::max_element(windows.end, windows.end + x.heads) - first, 0);
  ChunkStates made;
  made.memory = Tensor(stream, {std::int64_t{x.batch} * x.heads, count, x.channels, x.channels},
                       DType::kFloat32);
  made.states = {data_of<float>(made.memory), first, count, windows};
  return made;
}

template <bool kReverse>
void make_states(const Sequence& x, const States& states, const TensorView& left,
                 const TensorView& right, const TensorView& in, const TensorView& out,
                 Stream& stream) {
  const std::int64_t heads = std::int64_t{x.batch} * x.heads, parts = x.slices() * x.slices();
  dispatch_cuda_float(left.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_tiles(contribute<T, kReverse>, heads * states.count * parts,
                 sizeof(ContributionTiles<T>), stream, x, HeadRows<T>(left), HeadRows<T>(right),
                 states);
  });
  const std::int64_t across = (x.channels * x.channels + kTileThreads - 1) / kTileThreads;
  launch_tiles(sum_up<kReverse>, heads * across, 0, stream, x, states, StateRows(in),
               StateRows(out));
}

}  // namespace

Sequence sequence_of(const LightningForward& x, const LightningOptions& options) {
  HALO_REQUIRE(
      x.q.dim(2) <= kMaxLightningHeads,
      str("lightning attention of ", x.q.dim(2), " heads on a GPU: at most ", kMaxLightningHeads));
  Sequence sequence{.tokens = static_cast<int>(x.q.dim(0)),
                    .batch = static_cast<int>(x.q.dim(1)),
                    .heads = static_cast<int>(x.q.dim(2)),
                    .key_heads = static_cast<int>(x.k.dim(2)),
                    .channels = static_cast<int>(x.q.dim(3)),
                    .scale = static_cast<float>(options.scale),
                    .document_start = nullptr,
                    .document_token = 0,
                    .document_batch = 0,
                    .slope = {}};
  std::ranges::copy(options.slopes, sequence.slope);
  if (const TensorView& starts = options.document_start; !starts.empty()) {
    sequence.document_start = data_of<const std::int32_t>(starts);
    sequence.document_token = starts.stride(0);
    sequence.document_batch = starts.stride(1);
  }
  return sequence;
}

ChunkStates states_before(const Sequence& sequence, const Windows& windows,
                          const LightningForward& x, const TensorView& state_out, Stream& stream) {
  ChunkStates made = room_for(sequence, windows, stream);
  make_states<false>(sequence, made.states, x.k, x.v, x.state_in, state_out, stream);
  return made;
}

ChunkStates gradients_after(const Sequence& sequence, const Windows& windows, const TensorView& q,
                            const TensorView& d_o, const TensorView& dstate_out,
                            const TensorView& dstate_in, Stream& stream) {
  ChunkStates made = room_for(sequence, windows, stream);
  make_states<true>(sequence, made.states, q, d_o, dstate_out, dstate_in, stream);
  return made;
}

void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream) {
  HALO_REQUIRE(out.dtype == DType::kFloat32,
               str("lightning_carry_state on a GPU: states of ", dtype_name(out.dtype)));
  const std::int64_t heads = kept.size(), size = out.dim(2) * out.dim(3);
  if (out.size() == 0) return;
  carry<<<blocks_for(out.size(), kTileThreads), kTileThreads, 0, native(stream)>>>(
      data_of<float>(out), data_of<float>(in), data_of<float>(own), data_of<float>(kept), heads,
      size);
  check_launch();
}

}  // namespace halo::kernels::cuda
