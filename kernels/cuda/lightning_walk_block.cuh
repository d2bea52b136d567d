#pragma once
#include <type_traits>

#include "kernels/cuda/lightning_walk.cuh"
#include "kernels/cuda/lightning_wgmma.cuh"

namespace halo::kernels::cuda {

/// How many chunks lie in shared memory; with four a block at K = 128 took 4 to 12% longer on an H100.
inline constexpr int kWalkStages = 3;

/// What multiplies the tokens of a chunk.
struct alignas(16) WalkFactors {
  float out[kTile];  // of the state, in their outputs
  float in[kTile];   // of their products, in the state
  int seen[kTile];   // how many tokens before it each one sees
  float kept;        // of the state, along the chunk
  bool cut;          // the state ends here; that after the chunk, as the pass goes, begins anew
  bool split;        // a document begins past the chunk's first token

  /// What multiplies the pair of tokens in register i of the k-th left side of values.
  [[nodiscard]] __device__ __forceinline__ float2 entering(int k, int i, int lane) const {
    return *reinterpret_cast<const float2*>(in + k * 16 + i / 2 * 8 + lane % 4 * 2);
  }
};

template <int K>
struct WalkOutputs {
  wgmma::Slice products, out[K / kTile];
};
struct NoOutputs {};

template <int K, bool kOutputs>
struct WalkTiles {
  static constexpr int kOperands = kOutputs ? 3 : 2;  // z, y, x
  wgmma::Slice stage[kWalkStages][kOperands][K / kTile];
  std::conditional_t<kOutputs, WalkOutputs<K>, NoOutputs> outputs;
  float power[kTile + 1];  // e^(-slope d)
  WalkFactors factors[2];
};

__device__ __forceinline__ std::uint32_t rounded_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}
/// Two neighbours in bfloat16, each multiplied by its factor.
__device__ __forceinline__ std::uint32_t scaled_pair(std::uint32_t pair, float2 factor) {
  const float low = __uint_as_float(pair << 16), high = __uint_as_float(pair & 0xffff0000u);
  return rounded_pair(low * factor.x, high * factor.y);
}

static_assert(sizeof(WalkTiles<128, true>) <= 227 << 10 &&
              sizeof(WalkTiles<64, true>) <= 113 << 10 &&
              sizeof(WalkTiles<128, false>) <= 113 << 10);  // one block a multiprocessor, or two

/// A block's walk. Group g of four warps has rows 64 g to 64 g + 63 of the transposed state (z's channels, y's channels)
/// and of the transposed outputs (z's channels, tokens), so that the state is an operand where it is: in registers.
template <int K, bool kOutputs>
struct Walker {
  static constexpr int kGroups = K / kTile, kThreads = 128 * kGroups;
  static constexpr int kColumns = kTile / kGroups;  // of the products x y^T that a group makes
  static constexpr int kStages = kWalkStages;
  using Tiles = WalkTiles<K, kOutputs>;
  enum Operand : std::uint8_t { kZ, kY, kX };

  const Walk& walk;
  const Pass& pass;
  Tiles& tiles;
  int b, h;
  Span span;
  int thread = static_cast<int>(threadIdx.x);
  int group = thread / 128, warp = thread / 32 % 4, lane = thread % 32;
  // One chunk ahead: where the documents of this thread's token and of the chunk's last one begin.
  int start = -1, last_start = -1;
  const __nv_bfloat16 *x = nullptr, *y = nullptr, *z = nullptr;  // this thread's of the first token

  /// The chunk in time, for the `index`-th as the pass goes.
  [[nodiscard]] __device__ __forceinline__ int first_token(int index) const {
    return (pass.reverse ? walk.x.chunks() - 1 - index : index) * kTile;
  }
  [[nodiscard]] __device__ __forceinline__ int tokens_from(int first) const {
    return min(kTile, walk.x.tokens - first);
  }
  [[nodiscard]] __device__ __forceinline__ wgmma::Slice* stage(int index, Operand operand) const {
    return tiles.stage[(index - span.from) % kStages][operand];
  }

  /// A thread copies 16 bytes of every 16th row.
  static constexpr int kUnits = K / 8, kRowStep = kThreads / kUnits;
  [[nodiscard]] __device__ __forceinline__ const __nv_bfloat16* source(
      const HeadRows<__nv_bfloat16>& rows, int head) const {
    return rows.data + thread / kUnits * rows.token + b * rows.batch + head * rows.head +
           thread % kUnits * 8;
  }
  __device__ __forceinline__ void load_rows(wgmma::Slice* to, const __nv_bfloat16* from,
                                            std::int64_t token, int first, int count) const {
    const int unit = thread % kUnits, row = thread / kUnits;
    from += first * token;
#pragma unroll
    for (int p = 0; p < kTile; p += kRowStep) {
      mma::copy_async<16>(to[unit / 8].at(row + p, unit % 8), from, row + p < count);
      from += kRowStep * token;
    }
  }
  /// Begins to load a chunk, if the span has it.
  __device__ __forceinline__ void load(int index) const {
    if (index < span.end) {
      const int first = first_token(index), count = tokens_from(first);
      load_rows(stage(index, kY), y, pass.y.token, first, count);
      load_rows(stage(index, kZ), z, pass.z.token, first, count);
      if constexpr (kOutputs)
        if (index >= span.first) load_rows(stage(index, kX), x, pass.x.token, first, count);
    }
    mma::commit_copies();
  }
  __device__ __forceinline__ void load_starts(int index) {
    if (walk.x.document_start == nullptr || index >= span.end) return;
    const int first = first_token(index), count = tokens_from(first);
    start = walk.x.start(first + min(thread % kTile, count - 1), b);
    last_start = walk.x.start(first + count - 1, b);
  }

  __device__ __forceinline__ void set_factors(WalkFactors& factors, int index) const {
    if (thread >= kTile) return;
    const int first = first_token(index), count = tokens_from(first), i = thread;
    const bool there = i < count;
    const float from_start = there && start < first ? walk.x.scale * tiles.power[i + 1] : 0.0f;
    const float to_end = there && first + i >= last_start ? tiles.power[count - 1 - i] : 0.0f;
    factors.out[i] = pass.reverse ? to_end : from_start;
    factors.in[i] = pass.reverse ? from_start : to_end;
    factors.seen[i] = there ? i - max(start - first, 0) : -1;
    if (i > 0) return;
    factors.kept = last_start < first ? tiles.power[count] : 0.0f;
    factors.cut = last_start >= first;
    factors.split = last_start > first;
  }

  /// Between memory and a thread's elements of the transposed state.
  template <class Move>
  __device__ __forceinline__ void move_state(float (&state)[K / 2], const StateMatrix& matrix,
                                             Move move) const {
    const std::int64_t down = pass.rows_are_keys ? matrix.row : 1;
    const std::int64_t across = pass.rows_are_keys ? 1 : matrix.row;
    float* const corner =
        matrix.data + (group * kTile + warp * 16 + lane / 4) * down + lane % 4 * 2 * across;
#pragma unroll
    for (int i = 0; i < K / 2; ++i)
      move(state[i], corner[i / 2 % 2 * 8 * down + (i / 4 * 8 + i % 2) * across]);
  }

  /// scale e^(-slope |row - column|) of a thread's products, 0 where the row's token does not come after the column's.
  __device__ __forceinline__ void set_decays(float (&decays)[kColumns / 2]) const {
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) {
      const int back = pass.reverse ? -distance(i) : distance(i);
      decays[i] = back < 0 ? 0.0f : walk.x.scale * tiles.power[back];
    }
  }
  [[nodiscard]] __device__ __forceinline__ int row(int i) const {
    return warp * 16 + lane / 4 + i / 2 % 2 * 8;
  }
  [[nodiscard]] __device__ __forceinline__ int column(int i) const {
    return group * kColumns + i / 4 * 8 + lane % 4 * 2 + i % 2;
  }
  [[nodiscard]] __device__ __forceinline__ int distance(int i) const { return row(i) - column(i); }

  /// z^T, as a left side: this warp's 16 channels, 16 tokens at a time.
  __device__ __forceinline__ void read_values(std::uint32_t (&values)[4][4], int index) const {
    wgmma::Slice& slice = stage(index, kZ)[group];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      mma::load_transposed(values[k],
                           slice.at(k * 16 + lane % 8 + lane / 16 * 8, warp * 2 + lane / 8 % 2));
  }

  /// The group's columns of the products, decayed, for all groups. Ends with a barrier.
  __device__ __forceinline__ void share_products(float (&products)[kColumns / 2],
                                                 const float (&decays)[kColumns / 2],
                                                 const WalkFactors& factors) const {
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) products[i] *= decays[i];
    if (factors.split) {
#pragma unroll
      for (int i = 0; i < kColumns / 2; ++i) {
        const int back = pass.reverse ? -distance(i) : distance(i);
        if (back > factors.seen[pass.reverse ? column(i) : row(i)]) products[i] = 0;
      }
    }
#pragma unroll
    for (int n = 0; n < kColumns / 8; n += 2) {
      const float* const p = products + 4 * n;
      mma::store_matrices(
          tiles.outputs.products.at(warp * 16 + lane % 16, group * kColumns / 8 + n + lane / 16),
          rounded_pair(p[0], p[1]), rounded_pair(p[2], p[3]), rounded_pair(p[4], p[5]),
          rounded_pair(p[6], p[7]));
    }
    wgmma::publish();
    __syncthreads();
  }

  /// Of what came from the state. Where that isn't seen, it may be NaN.
  __device__ __forceinline__ void scale_outputs(float (&sums)[kTile / 2],
                                                const WalkFactors& factors) const {
#pragma unroll
    for (int i = 0; i < kTile / 2; ++i) {
      const float factor = factors.out[i / 4 * 8 + lane % 4 * 2 + i % 2];
      sums[i] *= factor;
      if (factors.cut && factor == 0) sums[i] = 0;
    }
  }

  __device__ __forceinline__ void write_outputs(const float (&sums)[kTile / 2], int index) const {
    wgmma::Slice& slice = tiles.outputs.out[group];
#pragma unroll
    for (int n = 0; n < kTile / 8; n += 2) {
      const float* const s = sums + 4 * n;
      mma::store_transposed(slice.at((n + lane / 16) * 8 + lane % 8, warp * 2 + lane / 8 % 2),
                            rounded_pair(s[0], s[1]), rounded_pair(s[2], s[3]),
                            rounded_pair(s[4], s[5]), rounded_pair(s[6], s[7]));
    }
    mma::group_barrier<128>(1 + group);
    const int first = first_token(index), count = tokens_from(first);
    const int unit = thread % 8, top = thread % 128 / 8;
    __nv_bfloat16* to = pass.out.data + (first + top) * pass.out.token + b * pass.out.batch +
                        h * pass.out.head + group * kTile + unit * 8;
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      if (top + p * 16 < count)
        *reinterpret_cast<uint4*>(to) =
            *reinterpret_cast<const uint4*>(slice.at(top + p * 16, unit));
      to += 16 * pass.out.token;
    }
  }

  /// Tokens of other documents than the state's: their y and z are zeros, so that no NaN of theirs enters it.
  __device__ __forceinline__ void clear_left_out(std::uint32_t (&values)[4][4],
                                                 const WalkFactors& factors, int index) const {
    wgmma::Slice* const rows = stage(index, kY);
    __syncthreads();
#pragma unroll 1
    for (int i = thread; i < kTile * kUnits; i += kThreads)
      if (const int row = i / kUnits, unit = i % kUnits; factors.in[row] == 0)
        *reinterpret_cast<uint4*>(rows[unit / 8].at(row, unit % 8)) = {};
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float2 in = factors.entering(i / 4, i % 4, lane);
      values[i / 4][i % 4] &= (in.x == 0 ? 0u : 0x0000ffffu) | (in.y == 0 ? 0u : 0xffff0000u);
    }
    wgmma::publish();
    __syncthreads();
  }

  /// The state after the chunk. Ends with a batch of products under way, of which `values` are the left side.
  __device__ __forceinline__ void add_to_state(float (&state)[K / 2], std::uint32_t (&values)[4][4],
                                               const WalkFactors& factors, int index) const {
    if (factors.cut) {
      clear_left_out(values, factors, index);
#pragma unroll
      for (int i = 0; i < K / 2; ++i) state[i] = 0;
    } else {
      const float kept = factors.kept;
#pragma unroll
      for (int i = 0; i < K / 2; ++i) state[i] *= kept;
    }
#pragma unroll
    for (int i = 0; i < 16; ++i)
      values[i / 4][i % 4] =
          scaled_pair(values[i / 4][i % 4], factors.entering(i / 4, i % 4, lane));
    wgmma::begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma::multiply<true>(state, values[k], wgmma::down_columns(stage(index, kY), k * 16), true);
    wgmma::commit();
  }

  /// x y^T of the group's columns, and the outputs' part from the state, as two batches of products.
  __device__ __forceinline__ void begin_outputs(float (&products)[kColumns / 2],
                                                float (&sums)[kTile / 2],
                                                std::uint32_t (&rounded)[K / 16][4],
                                                const float (&state)[K / 2], int index) const {
    const wgmma::Slice* const x = stage(index, kX);
    const wgmma::Slice* const y = stage(index, kY);
#pragma unroll
    for (int i = 0; i < K / 4; ++i)
      rounded[i / 4][i % 4] = rounded_pair(state[2 * i], state[2 * i + 1]);
    wgmma::begin();
#pragma unroll
    for (int k = 0; k < K / 16; ++k)
      wgmma::multiply(products, wgmma::along_rows(x, 0, k * 16),
                      wgmma::along_rows(y, group * kColumns, k * 16), k > 0);
    wgmma::commit();
#pragma unroll
    for (int k = 0; k < K / 16; ++k)
      wgmma::multiply<false>(sums, rounded[k], wgmma::along_rows(x, 0, k * 16), k > 0);
    wgmma::commit();
  }

  /// The chunk is there, and those that come next are on their way.
  __device__ __forceinline__ const WalkFactors& open(int index) {
    WalkFactors& factors = tiles.factors[(index - span.from) % 2];
    set_factors(factors, index);
    mma::wait_for_copies_but<kStages - 2>();
    wgmma::publish();
    __syncthreads();
    load(index + kStages - 1);
    load_starts(index + 1);
    return factors;
  }

  /// Along a chunk for the state alone.
  __device__ __forceinline__ void pass_by(float (&state)[K / 2], int index) {
    const WalkFactors& factors = open(index);
    std::uint32_t values[4][4];
    read_values(values, index);
    add_to_state(state, values, factors, index);
    wgmma::await<0>(state);
  }

  __device__ __forceinline__ void step(float (&state)[K / 2], const float (&decays)[kColumns / 2],
                                       int index) {
    const WalkFactors& factors = open(index);
    float products[kColumns / 2], sums[kTile / 2];
    std::uint32_t rounded[K / 16][4], values[4][4], scaled[4][4];
    begin_outputs(products, sums, rounded, state, index);
    read_values(values, index);
    wgmma::await<1>(products);
    share_products(products, decays, factors);
    wgmma::await<0>(sums);
    scale_outputs(sums, factors);
    wgmma::begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma::multiply<false>(sums, values[k], wgmma::along_rows(&tiles.outputs.products, 0, k * 16),
                             true);
    wgmma::commit();
#pragma unroll
    for (int i = 0; i < 16; ++i) scaled[i / 4][i % 4] = values[i / 4][i % 4];
    add_to_state(state, scaled, factors, index);
    wgmma::await<1>(sums);
    write_outputs(sums, index);
    wgmma::await<0>(state);
  }

  __device__ __forceinline__ void run() {
    x = source(pass.x, h);
    y = source(pass.y, h / walk.x.group());
    z = source(pass.z, h / walk.x.group());
    for (int d = thread; d <= kTile; d += kThreads)
      tiles.power[d] = static_cast<float>(exp(-walk.x.slope[h] * d));
    for (int i = 0; i < kStages - 1; ++i) load(span.from + i);
    load_starts(span.from);
    float state[K / 2];
#pragma unroll
    for (int i = 0; i < K / 2; ++i) state[i] = 0;
    mma::await_kernel_before();  // which makes the states of the segments
    if (span.initial.data != nullptr)
      move_state(state, span.initial, [](float& x, float& there) { x = there; });
    __syncthreads();
#pragma unroll 1
    for (int index = span.from; index < span.first; ++index) pass_by(state, index);
    if constexpr (kOutputs) {
      float decays[kColumns / 2];
      set_decays(decays);
#pragma unroll 1
      for (int index = span.first; index < span.end; ++index) step(state, decays, index);
    }
    if (span.final.data != nullptr)
      move_state(state, span.final, [](float& x, float& there) { there = x; });
  }
};

}  // namespace halo::kernels::cuda
