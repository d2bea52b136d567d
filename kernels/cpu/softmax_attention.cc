#include "kernels/softmax_attention.h"

#include <cmath>
#include <limits>

#include "core/base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/softmax_attention_blocks.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/workspace.h"
#include "kernels/matmul.h"

namespace halo::kernels::cpu {
namespace {

template <class T>
constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

/// s = e^(s - shift); returns the sum.
template <class T>
T exponentiate(T* s, std::int64_t n, T shift) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    s[i] = exp_approx(s[i] - shift);
    sum += s[i];
  }
  return sum;
}

/// Rows (S, K) of one key/value head, in place or copied together.
template <class T>
struct KeyRows {
  const T* data;
  std::int64_t stride;
};

/// Keys or values of all heads, copied to (B, G, S, K) when enough queries read them to pay for it.
template <class T>
class PackedKeys {
 public:
  PackedKeys(const TensorView& x, bool pack, Stream& stream) : x_(x) {
    if (!pack) return;
    const std::int64_t S = x.dim(0), G = x.dim(2), K = x.dim(3);
    packed_ = Tensor(stream, {x.dim(1), G, S, K}, x.dtype);
    const std::int64_t pieces = (S + kKeyBlock - 1) / kKeyBlock;
    stream.parallel_for(
        x.dim(1) * G * pieces, kKeyBlock * K, [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t i = first; i < last; ++i) {
            const std::int64_t group = i / pieces, begin = i % pieces * kKeyBlock;
            gather(packed_.view().template as<T>() + (group * S + begin) * K, x_,
                   {group / G, group % G, 1, begin, std::min(kKeyBlock, S - begin)});
          }
        });
  }
  [[nodiscard]] KeyRows<T> group(std::int64_t i) const {
    const std::int64_t S = x_.dim(0), G = x_.dim(2), K = x_.dim(3);
    if (packed_.empty()) return {head_row<T>(x_, 0, i / G, i % G), S > 1 ? x_.stride(0) : K};
    return {packed_.view().template as<T>() + i * S * K, K};
  }

 private:
  TensorView x_;
  Tensor packed_;
};

/// One block of queries on its way along the keys: the online softmax.
template <class T>
class QueryBlock {
 public:
  QueryBlock(const TensorView& q, const HeadRows& rows, double scale, Workspace<T>& memory)
      : rows_(rows),
        K_(q.dim(3)),
        scale_(static_cast<T>(scale)),
        q_(memory.take(rows.rows() * K_)),
        o_(memory.take(rows.rows() * K_)),
        p_(memory.take(rows.rows() * kKeyBlock)),
        max_(memory.take(rows.rows())),
        sum_(memory.take(rows.rows())) {
    gather(q_, q, rows);
    std::fill_n(o_, rows.rows() * K_, T{0});
    std::fill_n(sum_, rows.rows(), T{0});
    std::fill_n(max_, rows.rows(), kMinusInfinity<T>);
  }
  /// Elements of memory that a block of so many rows takes.
  static std::int64_t elements(std::int64_t rows, std::int64_t K) {
    return rows * (2 * K + kKeyBlock + 2);
  }

  /// Adds the keys of `range`, at most kKeyBlock of them.
  void attend(KeyRows<T> k, KeyRows<T> v, const KeyRange& range, const VisibleKeys& visible) {
    const std::int64_t n = range.end - range.begin, M = rows_.rows();
    matmul_block(MatmulBlock<T>{M, n, K_, q_, K_, false, k.data + range.begin * k.stride, k.stride,
                                true, p_, n, scale_, 0});
    for (std::int64_t m = 0; m < M; ++m) {
      const std::int64_t t = rows_.begin + m % rows_.count;
      const KeyRange seen = visible.of(t, rows_.batch).within(range);
      update_row(m, p_ + m * n, n, {seen.begin - range.begin, seen.end - range.begin});
    }
    matmul_block(MatmulBlock<T>{M, K_, n, p_, n, false, v.data + range.begin * v.stride, v.stride,
                                false, o_, K_, 1, 1});
  }

  void write(const TensorView& o, const TensorView& lse) const {
    for (std::int64_t m = 0; m < rows_.rows(); ++m) {
      const T sum = sum_[m], max = max_[m];
      const bool blind = sum == 0;  // saw no key, as the largest logit adds 1
      const T factor = blind ? T{0} : 1 / sum;
      for (std::int64_t i = 0; i < K_; ++i) o_[m * K_ + i] *= factor;
      const std::int64_t t = rows_.begin + m % rows_.count;
      const std::int64_t h = rows_.first_head + m / rows_.count;
      *head_row<T>(lse, t, rows_.batch, h) = blind ? kMinusInfinity<T> : max + std::log(sum);
    }
    scatter(o, rows_, o_);
  }

 private:
  /// Logits of one row become probabilities relative to the row's new maximum; what is not seen becomes 0.
  void update_row(std::int64_t m, T* p, std::int64_t n, const KeyRange& seen) {
    if (seen.empty()) {
      std::fill_n(p, n, T{0});
      return;
    }
    T& max = max_[m];
    T& sum = sum_[m];
    const T block_max = max_of(p + seen.begin, seen.end - seen.begin);
    if (block_max > max) {
      const T shrink = std::exp(max - block_max);
      T* o = o_ + m * K_;
      for (std::int64_t i = 0; i < K_; ++i) o[i] *= shrink;
      sum *= shrink;
      max = block_max;
    }
    std::fill_n(p, seen.begin, T{0});
    sum += exponentiate(p + seen.begin, seen.end - seen.begin, max);
    std::fill(p + seen.end, p + n, T{0});
  }

  HeadRows rows_;
  std::int64_t K_;
  T scale_;
  T *q_, *o_, *p_, *max_, *sum_;
};

template <class T>
void attention(const TensorView& o, const TensorView& lse, const TensorView& q, const TensorView& k,
               const TensorView& v, double scale, const AttentionMask& mask, Stream& stream) {
  const QueryBlocks blocks(q, k);
  const VisibleKeys visible(mask, k.dim(0));
  const bool pack = q.dim(0) >= 32;
  const PackedKeys<T> keys(k, pack, stream), values(v, pack, stream);
  const std::int64_t groups = q.dim(1) * k.dim(2);
  const std::int64_t room = QueryBlock<T>::elements(blocks.max_rows(), q.dim(3));
  const auto attend = [&](std::int64_t i, Workspace<T>& memory) {
    const std::int64_t group = i % groups;
    const HeadRows rows = blocks.rows(group, blocks.count() - 1 - i / groups);  // the longest first
    QueryBlock<T> block(q, rows, scale, memory);
    const KeyRange all = visible.of_block(rows.begin, rows.count, rows.batch);
    for (std::int64_t j = all.begin; j < all.end; j += kKeyBlock)
      block.attend(keys.group(group), values.group(group), {j, std::min(j + kKeyBlock, all.end)},
                   visible);
    block.write(o, lse);
  };
  each_with_workspace<T>(stream, groups * blocks.count(), room, attend);
}

}  // namespace

void softmax_attention(TensorView o, TensorView lse, TensorView q, TensorView k, TensorView v,
                       double scale, const AttentionMask& mask, Stream& stream) {
  dispatch_cpu_float(
      q.dtype, [&](auto zero) { attention<decltype(zero)>(o, lse, q, k, v, scale, mask, stream); });
}

}  // namespace halo::kernels::cpu
