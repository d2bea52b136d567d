#include "kernels/cuda/lightning_walk.cuh"
#include "kernels/lightning_attention.h"

namespace halo::kernels::cuda {
namespace {

template <class T>
struct GradientTiles {
  ChunkTable table;
  Tile<T> q, k, v, d_o, state, dstate;
  Tile<T> products, dproducts;  // of queries and keys, and their gradient
};

template <class T>
struct GradientRows {
  HeadRows<T> dq, dk, dv, q, k, v, d_o;
};

/// 64 channels (`slice`) of the gradients of a chunk of one key/value head. Contractions over channels go slice by slice
/// through the same tiles; where there is only one, its tiles are loaded once a query head.
template <class T>
struct GradientBlock {
  const Sequence& x;
  const GradientRows<T>& rows;
  const States &before, &after;
  GradientTiles<T>& shared;
  Chunk chunk;
  int c, g, slice;

  __device__ __forceinline__ void load_queries(int h, int s) {
    load_tile(shared.q, chunk.tile(rows.q, h, s, x.channels));
  }
  __device__ __forceinline__ void load_d_o(int h, int s) {
    load_tile(shared.d_o, chunk.tile(rows.d_o, h, s, x.channels));
  }
  __device__ __forceinline__ void load_keys(int s) {
    load_tile(shared.k, chunk.tile(rows.k, g, s, x.channels));
  }
  __device__ __forceinline__ void load_values(int s) {
    load_tile(shared.v, chunk.tile(rows.v, g, s, x.channels));
  }
  __device__ __forceinline__ void load_state(Tile<T>& tile, const States& states, int h, int i,
                                             int j) {
    load_rounded<T>(tile, states.tile(chunk.batch * x.heads + h, c, x.channels, i, j));
  }

  /// sums = a b over all channels; load(s) loads slice s of both.
  template <bool kTransposeB, class Load>
  __device__ __forceinline__ void contract(Sums<T>& sums, const Tile<T>& a, const Tile<T>& b,
                                           Load load) {
    const int slices = x.slices();
    sums.clear();
    for (int s = 0; s < slices; ++s) {
      if (slices > 1) {
        __syncthreads();
        load(s);
        await_tiles();
      }
      add_product<false, kTransposeB>(sums, a, b);
    }
  }

  __device__ __forceinline__ void begin_head(int h) {
    __syncthreads();  // the head before has read its tiles
    shared.table.set_powers(x.slope[h]);
    if (x.slices() == 1) {
      load_queries(h, 0);
      load_d_o(h, 0);
      load_state(shared.state, before, h, 0, 0);
      load_state(shared.dstate, after, h, 0, 0);
    }
    await_tiles();
  }

  /// The products of queries and keys, and their gradients, both decayed.
  __device__ __forceinline__ void make_products(int h) {
    Sums<T> sums;
    contract<true>(sums, shared.q, shared.k, [&](int s) {
      load_queries(h, s);
      load_keys(s);
    });
    shared.table.decay_products(sums, x.scale);
    sums.store(shared.products);
    contract<true>(sums, shared.d_o, shared.v, [&](int s) {
      load_d_o(h, s);
      load_values(s);
    });
    shared.table.decay_products(sums, x.scale);
    sums.store(shared.dproducts);
  }

  /// What comes through the gradient of the state after the chunk.
  __device__ __forceinline__ void add_from_after(Sums<T>& dk, Sums<T>& dv, int h) {
    const auto to_end = [&](int j) { return shared.table.to_end(chunk, j); };
    Sums<T> sums;
    contract<false>(sums, shared.k, shared.dstate, [&](int s) {
      load_keys(s);
      load_state(shared.dstate, after, h, s, slice);
    });
    sums.scale_rows(to_end);
    dv.add(sums);
    contract<true>(sums, shared.v, shared.dstate, [&](int s) {
      load_values(s);
      load_state(shared.dstate, after, h, slice, s);
    });
    sums.scale_rows(to_end);
    dk.add(sums);
  }

  /// dq, which is written, and what tokens of the chunk give to dk and dv.
  __device__ __forceinline__ void finish_head(Sums<T>& dk, Sums<T>& dv, int h) {
    Sums<T> dq;
    dq.clear();
    if (chunk.continuing > 0)
      contract<true>(dq, shared.d_o, shared.state, [&](int s) {
        load_d_o(h, s);
        load_state(shared.state, before, h, slice, s);
      });
    dq.scale_rows([&](int i) { return shared.table.from_start(chunk, x.scale, i); });
    __syncthreads();
    if (x.slices() > 1) {
      load_queries(h, slice);
      load_keys(slice);
      load_d_o(h, slice);
    }
    await_tiles();
    add_product<false, false>(dq, shared.dproducts, shared.k);
    add_product<true, false>(dk, shared.dproducts, shared.q);
    add_product<true, false>(dv, shared.products, shared.d_o);
    dq.store(shared.state);
    __syncthreads();
    write_tile(chunk.tile(rows.dq, h, slice, x.channels), shared.state);
  }

  __device__ __forceinline__ void run() {
    Sums<T> dk, dv;
    dk.clear();
    dv.clear();
    if (x.slices() == 1) {
      load_keys(0);
      load_values(0);
    }
    for (int h = g * x.group(); h < (g + 1) * x.group(); ++h) {
      begin_head(h);
      make_products(h);
      add_from_after(dk, dv, h);
      finish_head(dk, dv, h);
    }
    __syncthreads();
    dk.store(shared.k);
    dv.store(shared.v);
    __syncthreads();
    write_tile(chunk.tile(rows.dk, g, slice, x.channels), shared.k);
    write_tile(chunk.tile(rows.dv, g, slice, x.channels), shared.v);
  }
};

template <class T>
__global__ void __launch_bounds__(kTileThreads, 3)
    write_gradients(const __grid_constant__ Sequence x,
                    const __grid_constant__ GradientRows<T> rows,
                    const __grid_constant__ States before, const __grid_constant__ States after) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<GradientTiles<T>*>(shared_memory);
  const int slices = x.slices(), G = x.key_heads;
  auto block = static_cast<int>(blockIdx.x);
  const int slice = block % slices, g = block / slices % G;
  block /= slices * G;
  const int b = block % x.batch, c = before.first + block / x.batch;
  if (!before.windows.contains(g * x.group(), c)) return;
  const Chunk chunk = shared.table.open(x, b, c);
  GradientBlock<T>{x, rows, before, after, shared, chunk, c, g, slice}.run();
}

/// The same for all query heads of a group.
Windows written_windows(const Sequence& x, const LightningOptions& options, Part part,
                        DType dtype) {
  Windows windows{};
  for (int h = 0; h < x.heads; ++h) {
    const auto first = options.slopes.begin() + h / x.group() * x.group();
    const std::int64_t waiting =
        x.chunks() - chunks_entering_end(x.tokens, {first, first + x.group()}, dtype);
    windows.begin[h] = static_cast<int>(part == Part::kFinish ? waiting : 0);
    windows.end[h] = static_cast<int>(part == Part::kBegin ? waiting : x.chunks());
  }
  return windows;
}

/// dq by a pass forward in time, whose states are those of the forward pass transposed; dk and dv by two passes backward.
void run_backward_passes(const Sequence& sequence, const Windows& written,
                         const LightningGradients& gradients, const TensorView& d_o,
                         const TensorView& dstate_out, const TensorView& state_out,
                         const LightningForward& x, const LightningOptions& options,
                         Stream& stream) {
  using Rows = HeadRows<__nv_bfloat16>;
  const Rows q(x.q), k(x.k), v(x.v), d(d_o);
  const StateRows from(dstate_out), to(gradients.dstate_in), none{TensorView{}};
  const Pass for_q{.x = d,
                   .y = v,
                   .z = k,
                   .out = Rows(gradients.dq),
                   .initial = StateRows(x.state_in),
                   .final = StateRows(state_out),
                   .rows_are_keys = true,
                   .begins_at_window = true};
  const Pass for_k{.x = v,
                   .y = d,
                   .z = q,
                   .out = Rows(gradients.dk),
                   .initial = from,
                   .final = to,
                   .reverse = true,
                   .rows_are_keys = true};
  const Pass for_v{.x = k,
                   .y = q,
                   .z = d,
                   .out = Rows(gradients.dv),
                   .initial = from,
                   .final = none,
                   .reverse = true};
  run_passes(sequence, written, {for_k, for_v, for_q}, options, stream);
}

/// `x.state_in` is the state before the first chunk that is written, `state_out` receives that after the last of them.
void backward(const LightningGradients& gradients, const TensorView& d_o,
              const TensorView& dstate_out, const TensorView& state_out, const LightningForward& x,
              const LightningOptions& options, Part part, Stream& stream) {
  const Sequence sequence = sequence_of(x, options);
  const Windows written = written_windows(sequence, options, part, x.q.dtype);
  if (x.q.dim(2) == x.k.dim(2) &&
      can_walk(x.q, {x.q, x.k, x.v, d_o, gradients.dq, gradients.dk, gradients.dv}))
    return run_backward_passes(sequence, written, gradients, d_o, dstate_out, state_out, x, options,
                               stream);
  Windows needed =
      written;  // chunks after those that are written give to the states' gradients alone
  std::ranges::fill(needed.end, sequence.chunks());
  const ChunkStates before = states_before(sequence, written, x, state_out, stream);
  const ChunkStates after =
      gradients_after(sequence, needed, x.q, d_o, dstate_out, gradients.dstate_in, stream);
  const std::int64_t blocks = x.k.dim(1) * x.k.dim(2) * before.states.count * sequence.slices();
  dispatch_cuda_float(x.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    const GradientRows<T> rows{HeadRows<T>(gradients.dq), HeadRows<T>(gradients.dk),
                               HeadRows<T>(gradients.dv), HeadRows<T>(x.q),
                               HeadRows<T>(x.k),          HeadRows<T>(x.v),
                               HeadRows<T>(d_o)};
    launch_tiles(write_gradients<T>, blocks, sizeof(GradientTiles<T>), stream, sequence, rows,
                 before.states, after.states);
  });
}

}  // namespace

void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream) {
  backward(gradients, d_o, dstate_out, {}, forward, options, Part::kAll, stream);
}

void lightning_attention_backward_begin(const LightningGradients& gradients, TensorView waiting,
                                        TensorView d_o, const LightningForward& forward,
                                        const LightningOptions& options, Stream& stream) {
  backward(gradients, d_o, {}, waiting, forward, options, Part::kBegin, stream);
}

void lightning_attention_backward_finish(const LightningGradients& gradients, TensorView waiting,
                                         TensorView d_o, TensorView dstate_out,
                                         const LightningForward& forward,
                                         const LightningOptions& options, Stream& stream) {
  const LightningForward x{forward.q, forward.k, forward.v, waiting};
  backward(gradients, d_o, dstate_out, {}, x, options, Part::kFinish, stream);
}

}  // namespace halo::kernels::cuda
