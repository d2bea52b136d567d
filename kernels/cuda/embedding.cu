#include "kernels/embedding.h"

#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <limits>

#include "core/base/tensor.h"
#include "kernels/cuda/elementwise.cuh"

namespace halo::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// Bits of any dtype, copied as they are.
template <class Word>
__device__ __forceinline__ Word filled(std::uint32_t bits) {
  return static_cast<Word>(bits);
}
template <>
__device__ __forceinline__ uint4 filled<uint4>(std::uint32_t bits) {
  return {bits, bits, bits, bits};
}

/// Rows of `words` words: threads along x take one row, along y rows. An id outside the vocabulary gives NaN, which losses
/// show, because the host could throw only after waiting for the ids.
template <class Word>
__global__ void embedding_kernel(Word* y, const std::int32_t* ids, const Word* table,
                                 std::int64_t N, std::int64_t V, std::int64_t words,
                                 VocabularyPart part) {
  constexpr std::uint32_t kNan = 0xffffffffu;  // every bit, which is NaN in each dtype
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.y;
  for (std::int64_t n = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y; n < N; n += step) {
    const std::int64_t id = ids[n], here = id - part.first;
    const bool held = here >= 0 && here < V;
    const Word absent = filled<Word>(id >= 0 && id < part.size ? 0u : kNan);
    for (std::int64_t j = threadIdx.x; j < words; j += blockDim.x)
      y[n * words + j] = held ? table[here * words + j] : absent;
  }
}

template <class Word>
void launch_embedding(const TensorView& y, const TensorView& ids, const TensorView& table,
                      const VocabularyPart& part, const Stream& stream) {
  const std::int64_t N = ids.dim(0), V = table.dim(0);
  const auto words = static_cast<std::int64_t>(y.bytes() / sizeof(Word)) / N;
  const auto width = std::bit_ceil(static_cast<unsigned>(std::min<std::int64_t>(words, kThreads)));
  const dim3 block(width, kThreads / width);
  embedding_kernel<<<blocks_for(N, static_cast<int>(block.y)), block, 0, native(stream)>>>(
      data_of<Word>(y), ids.as<std::int32_t>(), data_of<Word>(table), N, V, words, part);
  check_launch();
}

/// Each place n and the row it adds to, or V where that is not here.
__global__ void name_rows_kernel(std::uint32_t* rows, std::int32_t* places, const std::int32_t* ids,
                                 std::int64_t N, std::int64_t V, std::int64_t first_row) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t n = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; n < N; n += step) {
    const std::int64_t here = ids[n] - first_row;
    rows[n] = static_cast<std::uint32_t>(here >= 0 && here < V ? here : V);
    places[n] = static_cast<std::int32_t>(n);
  }
}

/// Places (N), sorted by row and for one row by n.
struct SortedPlaces {
  const std::uint32_t* rows;
  const std::int32_t* places;
  std::int64_t N;
};

/// A warp adds the run that begins at sorted place `begin`, in order, to N columns a lane of one row. Lanes without a column
/// help with the places.
template <int N, class T>
__device__ void add_run(float* row, const SortedPlaces& sorted, std::int64_t begin, const T* dy,
                        std::int64_t packs, std::int64_t first_column) {
  const std::uint32_t own = sorted.rows[begin];
  const bool inside = first_column + threadIdx.x < packs;
  const std::int64_t column = first_column + (inside ? threadIdx.x : 0);
  auto sum = load_floats<N>(row, column);
  int run = 32;
  for (std::int64_t p = begin + threadIdx.x; run == 32; p += 32) {
    const bool mine = p < sorted.N && sorted.rows[p] == own;
    const std::int32_t place = mine ? sorted.places[p] : 0;
    run = __popc(__ballot_sync(0xffffffffu, mine));  // they are the first lanes
#pragma unroll 8
    for (int k = 0; k < run; ++k) {
      const std::int64_t n = __shfl_sync(0xffffffffu, place, k);
      const auto term = load_floats<N>(dy, n * packs + column);
#pragma unroll
      for (int c = 0; c < N; ++c) sum.at[c] += term.at[c];
    }
  }
  if (inside) store_floats(row, column, sum);
}

/// One warp (threads along x) a sorted place: those at which a run begins add it. Blocks along y share the columns out.
template <int N, class T>
__global__ void embedding_backward_kernel(float* dtable, SortedPlaces sorted, const T* dy,
                                          std::int64_t V, std::int64_t packs) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.y;
  for (std::int64_t p = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y; p < sorted.N;
       p += step) {
    const std::int64_t row = sorted.rows[p];
    if (row == V || (p > 0 && sorted.rows[p - 1] == row)) continue;
    for (std::int64_t tile = blockIdx.y; tile * 32 < packs; tile += gridDim.y)
      add_run<N>(dtable + row * packs * N, sorted, p, dy, packs, tile * 32);
  }
}

template <int N, class T>
void launch_embedding_backward(const TensorView& dtable, const SortedPlaces& sorted,
                               const TensorView& dy, const Stream& stream) {
  const std::int64_t packs = dy.dim(1) / N;
  const dim3 block(32, kThreads / 32);
  const dim3 grid(blocks_for(sorted.N, kThreads / 32), blocks_for(packs, 32, 65535));
  embedding_backward_kernel<N><<<grid, block, 0, native(stream)>>>(
      dtable.as<float>(), sorted, data_of<T>(dy), dtable.dim(0), packs);
  check_launch();
}

}  // namespace

void embedding(TensorView y, TensorView ids, TensorView table, const VocabularyPart& part,
               Stream& stream) {
  if (y.size() == 0) return;
  const std::size_t row = y.bytes() / static_cast<std::size_t>(y.dim(0));
  if (row % sizeof(uint4) == 0 && aligned(data_of<char>(y), data_of<char>(table)))
    return launch_embedding<uint4>(y, ids, table, part, stream);
  dispatch_cuda_float(y.dtype, [&](auto zero) {
    using Word = std::conditional_t<sizeof(zero) == 2, std::uint16_t, std::uint32_t>;
    launch_embedding<Word>(y, ids, table, part, stream);
  });
}

void embedding_backward(TensorView dtable, TensorView ids, TensorView dy,
                        const VocabularyPart& part, Stream& stream) {
  const std::int64_t N = ids.dim(0), V = dtable.dim(0);
  if (dy.size() == 0 || V == 0) return;
  HALO_REQUIRE(std::max(N, V) <= std::numeric_limits<std::int32_t>::max(),
               str("embedding_backward: ", N, " places and ", V, " rows; a GPU counts in int32"));
  const Tensor rows(stream, {N}, DType::kUint32), sorted_rows(stream, {N}, DType::kUint32);
  const Tensor places(stream, {N}, DType::kInt32), sorted_places(stream, {N}, DType::kInt32);
  auto* const row = rows.view().as<std::uint32_t>();
  auto* const place = places.view().as<std::int32_t>();
  auto* const sorted_row = sorted_rows.view().as<std::uint32_t>();
  auto* const sorted_place = sorted_places.view().as<std::int32_t>();
  name_rows_kernel<<<blocks_for(N, kThreads), kThreads, 0, native(stream)>>>(
      row, place, ids.as<std::int32_t>(), N, V, part.first);
  check_launch();

  const auto sort = [&](void* memory, std::size_t& bytes) {  // stable: equal rows keep the order
    const int bits = std::bit_width(static_cast<std::uint64_t>(V));
    HALO_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(memory, bytes, row, sorted_row, place,
                                                    sorted_place, static_cast<std::int32_t>(N), 0,
                                                    bits, native(stream)));
  };
  std::size_t bytes = 0;
  sort(nullptr, bytes);
  const Tensor memory(stream, {static_cast<std::int64_t>(bytes)}, DType::kUint8);
  sort(memory.view().data, bytes);

  const SortedPlaces sorted{sorted_row, sorted_place, N};
  dispatch_cuda_float(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kColumns = kPack<float>;
    const bool in_packs =
        dy.dim(1) % kColumns == 0 && aligned(data_of<char>(dy), data_of<char>(dtable));
    if (in_packs)
      launch_embedding_backward<kColumns, T>(dtable, sorted, dy, stream);
    else
      launch_embedding_backward<1, T>(dtable, sorted, dy, stream);
  });
}

}  // namespace halo::kernels::cuda
