#include "kernels/lightning_attention.h"

#include "kernels/cuda/lightning_walk.cuh"

namespace halo::kernels::cuda {
namespace {

template <class T>
struct OutputTiles {
  ChunkTable table;
  Tile<T> q, k, v, state;
};

/// o = (scale q k^T with decays) v + the state before the chunk, read by decayed queries. A block makes 64 channels of one
/// head's chunk. Decays multiply float32 sums, so that of the operands only the first product and the state are rounded.
template <class T>
__global__ void __launch_bounds__(kTileThreads, 4)
    write_outputs(const __grid_constant__ Sequence x, const HeadRows<T> o, const HeadRows<T> q,
                  const HeadRows<T> k, const HeadRows<T> v, const __grid_constant__ States states,
                  const __grid_constant__ Windows written) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<OutputTiles<T>*>(shared_memory);
  const int K = x.channels, slices = x.slices(), H = x.heads;
  auto block = static_cast<int>(blockIdx.x);
  const int slice = block % slices, h = block / slices % H;
  block /= slices * H;
  const int b = block % x.batch, c = states.first + block / x.batch, g = h / x.group();
  if (!written.contains(h, c)) return;

  shared.table.set_powers(x.slope[h]);
  const Chunk chunk = shared.table.open(x, b, c);
  load_tile(shared.v, chunk.tile(v, g, slice, K));
  Sums<T> products, sums;
  products.clear();
  sums.clear();
  for (int s = 0; s < slices; ++s) {
    if (s > 0) __syncthreads();
    load_tile(shared.q, chunk.tile(q, h, s, K));
    load_tile(shared.k, chunk.tile(k, g, s, K));
    if (chunk.continuing > 0) load_rounded<T>(shared.state, states.tile(b * H + h, c, K, s, slice));
    await_tiles();
    add_product<false, true>(products, shared.q, shared.k);
    if (chunk.continuing > 0) add_product<false, false>(sums, shared.q, shared.state);
  }
  shared.table.decay_products(products, x.scale);
  sums.scale_rows([&](int i) { return shared.table.from_start(chunk, x.scale, i); });
  __syncthreads();
  products.store(shared.k);
  __syncthreads();
  add_product<false, false>(sums, shared.k, shared.v);
  sums.store(shared.q);
  __syncthreads();
  write_tile(chunk.tile(o, h, slice, K), shared.q);
}

Windows written_windows(const LightningForward& x, const LightningOptions& options, Part part) {
  Windows windows{};
  const std::int64_t n = (x.q.dim(0) + kTile - 1) / kTile;
  for (std::size_t h = 0; h < options.slopes.size(); ++h) {
    const std::int64_t waiting = chunks_seeing_start(x.q.dim(0), options.slopes[h], x.q.dtype);
    windows.begin[h] = static_cast<int>(part == Part::kBegin ? waiting : 0);
    windows.end[h] = static_cast<int>(part == Part::kFinish ? waiting : n);
  }
  return windows;
}

void forward(const TensorView& o, const TensorView& state_out, const LightningForward& x,
             const LightningOptions& options, Part part, Stream& stream) {
  using Rows = HeadRows<__nv_bfloat16>;
  const Sequence sequence = sequence_of(x, options);
  const Windows written = written_windows(x, options, part);
  if (can_walk(x.q, {o, x.q, x.k, x.v})) {
    const Pass pass{.x = Rows(x.q),
                    .y = Rows(x.k),
                    .z = Rows(x.v),
                    .out = Rows(o),
                    .initial = StateRows(x.state_in),
                    .final = StateRows(state_out)};
    return run_passes(sequence, written, {pass}, options, stream);
  }
  Windows needed = written;  // those before make their states alone
  std::ranges::fill(needed.begin, 0);
  const ChunkStates before = states_before(sequence, needed, x, state_out, stream);
  const std::int64_t blocks = x.q.dim(1) * x.q.dim(2) * before.states.count * sequence.slices();
  dispatch_cuda_float(x.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_tiles(write_outputs<T>, blocks, sizeof(OutputTiles<T>), stream, sequence, HeadRows<T>(o),
                 HeadRows<T>(x.q), HeadRows<T>(x.k), HeadRows<T>(x.v), before.states, written);
  });
}

}  // namespace

void lightning_attention(TensorView o, TensorView state_out, TensorView q, TensorView k,
                         TensorView v, TensorView state_in, const LightningOptions& options,
                         Stream& stream) {
  forward(o, state_out, {q, k, v, state_in}, options, Part::kAll, stream);
}

void lightning_attention_begin(TensorView o, TensorView state_out, TensorView q, TensorView k,
                               TensorView v, const LightningOptions& options, Stream& stream) {
  forward(o, state_out, {q, k, v, {}}, options, Part::kBegin, stream);
}

void lightning_attention_finish(TensorView o, TensorView q, TensorView k, TensorView v,
                                TensorView state_in, const LightningOptions& options,
                                Stream& stream) {
  forward(o, {}, {q, k, v, state_in}, options, Part::kFinish, stream);
}

}  // namespace halo::kernels::cuda
