#include "kernels/cuda/lightning_walk.cuh"

#include <algorithm>

#include "kernels/cuda/lightning_walk_block.cuh"

/// Whether this was compiled for GPUs of compute capability 9.0a, among others perhaps.
#ifndef HALO_HAS_WGMMA
#define HALO_HAS_WGMMA 1
#endif
#if HALO_HAS_WGMMA && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HALO_COMPILES_WGMMA 1
#else
#define HALO_COMPILES_WGMMA 0
#endif

namespace halo::kernels::cuda {
namespace {

template <int K>
inline constexpr int kWalkThreads = 2 * K;

/// Neighbouring blocks have the same segment, so that together they read whole tokens.
template <int K>
__global__ void __launch_bounds__(kWalkThreads<K>, 1)
    walk_segments(const __grid_constant__ Walk w) {
#if HALO_COMPILES_WGMMA
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto block = static_cast<int>(blockIdx.x);
  const Pass& pass = w.pass[block % w.passes];
  block /= w.passes;
  const int h = block % w.x.heads;
  block /= w.x.heads;
  const int b = block % w.x.batch, s = block / w.x.batch;
  const Span span = span_of_segment(w, pass, b, h, s);
  if (span.end < span.from) return;
  using Block = Walker<K, true>;
  Block{w, pass, *reinterpret_cast<typename Block::Tiles*>(shared_memory), b, h, span}.run();
#endif
}

/// The states of the pieces.
template <int K>
__global__ void __launch_bounds__(kWalkThreads<K>, 2) walk_pieces(const __grid_constant__ Walk w) {
#if HALO_COMPILES_WGMMA
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto block = static_cast<int>(blockIdx.x);
  const Pass& pass = w.pass[block % w.passes];
  block /= w.passes;
  const int slot = block % w.slot[w.x.heads];
  block /= w.slot[w.x.heads];
  const int b = block % w.x.batch, s = block / w.x.batch + 1;
  int h = 0;
  while (w.slot[h + 1] <= slot) ++h;
  const Span span = span_of_piece(w, pass, b, h, s, slot - w.slot[h]);
  if (span.end < span.from) return;
  using Block = Walker<K, false>;
  Block{w, pass, *reinterpret_cast<typename Block::Tiles*>(shared_memory), b, h, span}.run();
#endif
}

constexpr int kSumThreads = 128, kPiecesAhead = 8;

/// The states before segments from those of the pieces. A thread has four elements of one head; where a segment's start
/// doesn't show at its end, a block has one segment, otherwise all of them.
__global__ void __launch_bounds__(kSumThreads) sum_pieces(const __grid_constant__ Walk w) {
  const int size = w.x.channels * w.x.channels / 4, across = size / kSumThreads;
  auto block = static_cast<int>(blockIdx.x);
  const int element = block % across * kSumThreads + static_cast<int>(threadIdx.x);
  block /= across;
  const Pass& pass = w.pass[block % w.passes];
  block /= w.passes;
  const int h = block % w.x.heads, pieces = w.slot[h + 1] - w.slot[h];
  block /= w.x.heads;
  const int b = block % w.x.batch, segment = block / w.x.batch + 1;
  const HeadWindow window = w.window(pass, h);
  const bool whole = pieces * w.piece >= w.segment;
  if (whole ? segment > 1 : pieces == 1 || segment > window.last) return;
  const auto kept = static_cast<float>(exp(-w.x.slope[h] * kTile * w.piece));
  const int first = max(whole ? 1 : segment, window.origin / w.segment + 1);
  const int last = whole ? window.last : segment;
  const auto at = [&](int s, int i) {
    return reinterpret_cast<float4*>(w.state(pass, b, h, s, i).data) + element;
  };
  // What is left, after the i-th piece, of the state before it.
  const auto left_after = [&](int s, int i) {
    const int chunk = s * w.segment - (i + 1) * w.piece;
    if (chunk <= window.origin) return 0.0f;
    const int token = (pass.reverse ? w.x.chunks() - chunk - w.piece : chunk) * kTile;
    return w.x.start(token + w.piece * kTile - 1, b) < token ? kept : 0.0f;
  };

  mma::await_kernel_before();
  float4 state{};
  for (int done = 0; done < (last - first + 1) * pieces; done += kPiecesAhead) {
    float4 own[kPiecesAhead];
    float factor[kPiecesAhead];
#pragma unroll
    for (int u = 0; u < kPiecesAhead; ++u) {
      const int s = first + (done + u) / pieces, i = pieces - 1 - (done + u) % pieces;
      factor[u] = -1;  // no such piece
      if (s > last || s * w.segment - i * w.piece <= window.origin) continue;
      own[u] = *at(s, i);
      factor[u] = left_after(s, i);
    }
#pragma unroll
    for (int u = 0; u < kPiecesAhead; ++u) {
      if (factor[u] < 0) continue;
      const int s = first + (done + u) / pieces, i = pieces - 1 - (done + u) % pieces;
      const auto add = [&](float& x, float y) { x = factor[u] == 0 ? y : fmaf(factor[u], x, y); };
      add(state.x, own[u].x), add(state.y, own[u].y);
      add(state.z, own[u].z), add(state.w, own[u].w);
      if (i == 0) *at(s, 0) = state;
    }
  }
}

/// How many pieces of a segment show after it.
int pieces_of(int reach, int segment, int piece) {
  return (std::min(reach, segment) + piece - 1) / piece;
}

int piece_of(int segment) {
  for (const int piece : {16, 8})
    if (segment % piece == 0) return piece;
  return 4;
}

/// What passes take in segments of `segment` chunks, in units of what a block takes along a chunk with outputs. So many
/// blocks for outputs run together, and twice as many for states, each then at half the cost.
double walking_time(const Walk& w, int segment, int together) {
  constexpr double kBlock = 1.5, kMoreKernels = 2.5;
  const int directions = std::min(w.passes, 2), piece = piece_of(segment);
  double outputs = 0, pieces = 0;
  for (int h = 0; h < w.x.heads; ++h) {
    const int begin = w.written.begin[h] / segment;
    const int last = std::max(w.written.end[h] - 1, 0) / segment;
    outputs += last - begin + 1;
    pieces += last * pieces_of(w.reach[h], segment, piece);
  }
  outputs *= double{1} * w.x.batch * w.passes;
  pieces *= double{1} * w.x.batch * directions;
  const double time = std::ceil(outputs / together) * (segment + kBlock);
  if (pieces == 0) return time;
  return time + kMoreKernels + std::ceil(pieces / (2 * together)) * (piece + kBlock) / 2;
}

/// Few segments, so that little is read twice, but as many blocks as fill the device evenly.
void choose_segments(Walk& w, const LightningOptions& options) {
  int device = 0, processors = 0;
  HALO_CUDA_CHECK(cudaGetDevice(&device));
  HALO_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  for (int h = 0; h < w.x.heads; ++h)
    w.reach[h] = static_cast<int>(chunks_seeing_start(
        w.x.tokens, options.slopes[static_cast<std::size_t>(h)], DType::kBFloat16));
  constexpr int kSegments[] = {4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512};
  double least = INFINITY;
  for (const int segment : kSegments) {
    const double time = walking_time(w, segment, processors * 128 / w.x.channels);
    if (time >= least) continue;
    least = time;
    w.segment = segment;
  }
  w.piece = piece_of(w.segment);
  w.segments = (w.x.chunks() + w.segment - 1) / w.segment;
  w.slot[0] = 0;
  for (int h = 0; h < w.x.heads; ++h)
    w.slot[h + 1] = w.slot[h] + pieces_of(w.reach[h], w.segment, w.piece);
}

/// `follows`: the kernel may begin before the one before it has ended, and waits for that itself.
void launch_walk(void (*kernel)(Walk), std::int64_t blocks, int threads, std::size_t bytes,
                 bool follows, const Walk& w, Stream& stream) {
  if (blocks == 0) return;
  HALO_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(bytes)));
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(blocks);
  config.blockDim = static_cast<unsigned>(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = native(stream);
  config.attrs = &attribute;
  config.numAttrs = follows ? 1 : 0;
  HALO_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, w));
}

/// Makes the states before segments, once for each direction.
template <int K>
Tensor make_segment_states(Walk& w, Stream& stream) {
  Walk made = w;
  made.passes = 0;
  int of_direction[2] = {-1, -1};
  for (int p = 0; p < w.passes; ++p)
    if (int& known = of_direction[w.pass[p].reverse]; known < 0) {
      known = made.passes;
      made.pass[made.passes++] = w.pass[p];
    }
  const std::int64_t pieces = std::int64_t{w.segments - 1} * w.x.batch * w.slot[w.x.heads];
  Tensor states(stream, {made.passes, pieces, K, K}, DType::kFloat32);
  const auto of = [&](int p) { return data_of<float>(states) + p * pieces * K * K; };
  for (int p = 0; p < made.passes; ++p) made.pass[p].pieces = of(p);
  for (int p = 0; p < w.passes; ++p) w.pass[p].pieces = of(of_direction[w.pass[p].reverse]);
  launch_walk(walk_pieces<K>, pieces * made.passes, kWalkThreads<K>, sizeof(WalkTiles<K, false>),
              false, made, stream);
  launch_walk(sum_pieces,
              std::int64_t{K * K / 4 / kSumThreads} * (w.segments - 1) * w.x.heads * w.x.batch *
                  made.passes,
              kSumThreads, 0, true, made, stream);
  return states;
}

template <int K>
void run_on(Walk& w, Stream& stream) {
  Tensor states;
  const bool follows = w.segments > 1;
  if (follows) states = make_segment_states<K>(w, stream);
  const std::int64_t blocks = std::int64_t{w.segments} * w.x.batch * w.x.heads * w.passes;
  launch_walk(walk_segments<K>, blocks, kWalkThreads<K>, sizeof(WalkTiles<K, true>), follows, w,
              stream);
}

}  // namespace

bool can_walk(const TensorView& q, std::initializer_list<TensorView> rows) {
  const std::int64_t K = q.dim(3);
  if (q.dtype != DType::kBFloat16 || (K != 64 && K != 128) || q.size() == 0) return false;
  for (const TensorView& x : rows)
    if (!HeadRows<__nv_bfloat16>(x).packed) return false;
  int device = 0, major = 0;
  HALO_CUDA_CHECK(cudaGetDevice(&device));
  HALO_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return HALO_HAS_WGMMA != 0 && major == 9;
}

void run_passes(const Sequence& sequence, const Windows& written,
                std::initializer_list<Pass> passes, const LightningOptions& options,
                Stream& stream) {
  const Pass& any = *passes.begin();
  Walk w{.x = sequence,
         .written = written,
         .segment = 0,
         .segments = 0,
         .piece = 0,
         .reach = {},
         .slot = {},
         .passes = static_cast<int>(passes.size()),
         .pass = {any, any, any}};
  std::ranges::copy(passes, w.pass);
  choose_segments(w, options);
  if (sequence.channels == 128)
    run_on<128>(w, stream);
  else
    run_on<64>(w, stream);
}

}  // namespace halo::kernels::cuda
