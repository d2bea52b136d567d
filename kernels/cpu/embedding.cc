#include "kernels/embedding.h"

#include <algorithm>
#include <cstring>

namespace halo::kernels::cpu {
namespace {

/// Before anything is written.
void check_ids(const std::int32_t* ids, std::int64_t N, std::int64_t V) {
  for (std::int64_t n = 0; n < N; ++n) {
    HALO_REQUIRE(ids[n] >= 0 && ids[n] < V, str("embedding: id ", ids[n], " at place ", n, " of ",
                                                N, " is outside the vocabulary of ", V));
  }
}

}  // namespace

void embedding(TensorView y, TensorView ids, TensorView table, const VocabularyPart& part,
               Stream& stream) {
  const std::int64_t N = ids.dim(0), D = table.dim(1);
  const auto* id = ids.as<std::int32_t>();
  check_ids(id, N, part.size);
  const std::size_t row = static_cast<std::size_t>(D) * dtype_size(table.dtype);
  if (row == 0) return;
  const std::int64_t first = part.first, V = table.dim(0);
  auto* to = static_cast<std::byte*>(y.data);
  const auto* from = static_cast<const std::byte*>(table.data);
  stream.parallel_for(N, D, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      std::byte* const out = to + static_cast<std::size_t>(n) * row;
      const std::int64_t here = id[n] - first;
      if (here < 0 || here >= V)
        std::memset(out, 0, row);
      else
        std::memcpy(out, from + static_cast<std::size_t>(here) * row, row);
    }
  });
}

void embedding_backward(TensorView dtable, TensorView ids, TensorView dy,
                        const VocabularyPart& part, Stream& stream) {
  const std::int64_t N = ids.dim(0), D = dtable.dim(1);
  const auto* id = ids.as<std::int32_t>();
  check_ids(id, N, part.size);
  const std::int64_t first_row = part.first, V = dtable.dim(0);
  constexpr std::int64_t kColumns = 16;  // a cache line of float32: threads write no line together
  dispatch_cpu_float(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* to = dtable.as<Wide<T>>();
    const auto* from = dy.as<T>();
    const std::int64_t tiles = (D + kColumns - 1) / kColumns;
    stream.parallel_for(tiles, kColumns * N, [=](std::int64_t first, std::int64_t last) {
      const std::int64_t begin = first * kColumns, end = std::min(D, last * kColumns);
      for (std::int64_t n = 0; n < N; ++n) {
        const std::int64_t here = id[n] - first_row;
        if (here < 0 || here >= V) continue;
        Wide<T>* sum = to + here * D;
        const T* row = from + n * D;
        for (std::int64_t d = begin; d < end; ++d) sum[d] += row[d];
      }
    });
  });
}

}  // namespace halo::kernels::cpu
