#include "kernels/cpu/lightning_chunks.h"

namespace halo::kernels::cpu {

Chunks::Chunks(std::int64_t T, std::int64_t B, const TensorView& document_start)
    : T_(T), document_start_(document_start) {
  if (document_start_.empty()) return;
  for (std::int64_t b = 0; b < B; ++b) {
    std::int64_t before = -1;
    for (std::int64_t t = 0; t < T; ++t) {
      const std::int64_t now = std::max<std::int64_t>(start(t, b), -1);
      HALO_REQUIRE(now == before || now == t,
                   str("document_start[", t, ", ", b, "] is ", start(t, b), ": expected ", t,
                       " (a document starts here) or ", before, " (it goes on)"));
      before = now;
    }
  }
}

Chunk Chunks::at(std::int64_t b, std::int64_t index) const {
  const std::int64_t begin = index * kChunk;
  Chunk chunk{.batch = b, .begin = begin, .count = std::min(kChunk, T_ - begin)};
  while (chunk.continuing < chunk.count && start(begin + chunk.continuing, b) < begin)
    ++chunk.continuing;
  chunk.tail = first_seen(chunk, chunk.count - 1);
  return chunk;
}

}  // namespace halo::kernels::cpu
