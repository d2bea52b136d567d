#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/base/tensor.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/workspace.h"
#include "kernels/lightning_attention.h"
#include "kernels/lightning_waiting.h"
#include "kernels/matmul.h"

namespace halo::kernels::cpu {

inline constexpr std::int64_t kChunk = kLightningChunk;

/// The powers e^(-slope d), d = 0 ... kChunk, of one head.
template <class T>
class Decays {
 public:
  explicit Decays(double slope) : falling_(kChunk + 1) {
    for (std::int64_t d = 0; d <= kChunk; ++d)
      falling_[static_cast<std::size_t>(kChunk - d)] =
          static_cast<T>(std::exp(-slope * static_cast<double>(d)));
  }
  [[nodiscard]] T power(std::int64_t d) const { return *until(d); }
  /// p with p[j] = e^(-slope (i - j)) for 0 <= j <= i.
  [[nodiscard]] const T* until(std::int64_t i) const { return falling_.data() + (kChunk - i); }

 private:
  std::vector<T> falling_;
};

/// Tokens [begin, begin + count) of batch element b, and where documents begin among them. Indices count from `begin`.
struct Chunk {
  std::int64_t batch = 0, begin = 0, count = 0;
  std::int64_t continuing = 0;  // tokens [0, continuing) see the state before the chunk
  std::int64_t tail = 0;        // tokens [tail, count) enter the state after the chunk
  [[nodiscard]] bool carries() const { return continuing == count; }  // the state goes through
  [[nodiscard]] HeadRows rows(std::int64_t head) const { return {batch, head, 1, begin, count}; }
};

/// Chunks [begin, end) of a sequence.
struct Window {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  [[nodiscard]] bool contains(std::int64_t chunk) const { return begin <= chunk && chunk < end; }
};

/// What a call of a kernel does of a pass: all, what needs no state from outside, or the rest.
enum class Part : std::uint8_t { kAll, kBegin, kFinish };

/// A sequence cut into chunks, document starts checked.
class Chunks {
 public:
  /// Throws Error unless each token's document starts where the token before's does, or at the token.
  Chunks(std::int64_t T, std::int64_t B, const TensorView& document_start);

  [[nodiscard]] std::int64_t count() const { return (T_ + kChunk - 1) / kChunk; }
  [[nodiscard]] Chunk at(std::int64_t b, std::int64_t index) const;
  /// Whether each of `heads` heads is walked along its chunks, with what it needs in the caches. Heads too few to keep all
  /// threads busy leave the chunks as items: all their states first, which costs memory traffic. The bits are the same.
  [[nodiscard]] bool walked_by(std::int64_t heads, int threads) const {
    constexpr std::int64_t kFew = 8;
    return heads >= threads || count() < kFew;
  }
  /// The first token of the chunk that its token i may see.
  [[nodiscard]] std::int64_t first_seen(const Chunk& chunk, std::int64_t i) const {
    return std::max<std::int64_t>(start(chunk.begin + i, chunk.batch) - chunk.begin, 0);
  }

 private:
  [[nodiscard]] std::int64_t start(std::int64_t t, std::int64_t b) const {
    if (document_start_.empty()) return -1;
    return static_cast<const std::int32_t*>(
        document_start_.data)[t * document_start_.stride(0) + b * document_start_.stride(1)];
  }
  std::int64_t T_;
  TensorView document_start_;
};

/// a (count, count) holds products of tokens i and j; multiplies them by e^(-slope (i - j)) and clears what i does not
/// see.
template <class T>
void decay_products(T* a, const Chunks& chunks, const Chunk& chunk, const Decays<T>& decays) {
  for (std::int64_t i = 0; i < chunk.count; ++i) {
    T* row = a + i * chunk.count;
    const std::int64_t first = chunks.first_seen(chunk, i);
    const T* power = decays.until(i);
    std::fill_n(row, first, T{0});
    for (std::int64_t j = first; j <= i; ++j) row[j] *= power[j];
    std::fill(row + i + 1, row + chunk.count, T{0});
  }
}

/// to_i = scale e^(-slope (i + 1)) x_i: what multiplies the state before the chunk.
template <class T>
void decay_from_start(T* to, const T* x, std::int64_t count, std::int64_t K, T scale,
                      const Decays<T>& decays) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T factor = scale * decays.power(i + 1);
    for (std::int64_t c = 0; c < K; ++c) to[i * K + c] = factor * x[i * K + c];
  }
}

/// to_j = e^(-slope (count - 1 - j)) x_j: what enters the state after the chunk.
template <class T>
void decay_to_end(T* to, const T* x, std::int64_t count, std::int64_t K, const Decays<T>& decays) {
  const T* power = decays.until(count - 1);
  for (std::int64_t j = 0; j < count; ++j)
    for (std::int64_t c = 0; c < K; ++c) to[j * K + c] = power[j] * x[j * K + c];
}

/// own (K, K) = what the chunk's tokens add to the state. k and v are its dense rows; decayed_k (count, K) is scratch.
template <class T>
void chunk_state(T* own, const T* k, const T* v, T* decayed_k, const Chunk& chunk, std::int64_t K,
                 const Decays<T>& decays) {
  decay_to_end(decayed_k, k, chunk.count, K, decays);
  const std::int64_t from = chunk.tail * K;
  matmul_block(MatmulBlock<T>{K, K, chunk.count - chunk.tail, decayed_k + from, K, true, v + from,
                              K, false, own, K});
}

/// after (K, K) = own + what the chunk carries of the state on its other side. `after` may be either.
template <class T>
void carry_state(T* after, const T* own, const T* before, const Chunk& chunk, std::int64_t K,
                 const Decays<T>& decays) {
  const T kept = decays.power(chunk.count);
  if (chunk.carries())
    for (std::int64_t e = 0; e < K * K; ++e) after[e] = own[e] + kept * before[e];
  else if (after != own)
    std::copy_n(own, K * K, after);
}

/// dense (K, K) = states[b, h], or zero when `states` is empty; and back.
template <class T>
void read_state(T* dense, const TensorView& states, std::int64_t b, std::int64_t h,
                std::int64_t K) {
  for (std::int64_t i = 0; i < K; ++i) {
    if (states.empty())
      std::fill_n(dense + i * K, K, T{0});
    else
      std::copy_n(head_row<T>(states, b, h, i), K, dense + i * K);
  }
}
template <class T>
void write_state(const TensorView& states, std::int64_t b, std::int64_t h, const T* dense,
                 std::int64_t K) {
  if (states.empty()) return;
  for (std::int64_t i = 0; i < K; ++i) std::copy_n(dense + i * K, K, head_row<T>(states, b, h, i));
}

}  // namespace halo::kernels::cpu
