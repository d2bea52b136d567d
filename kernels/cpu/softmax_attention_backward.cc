#include <cmath>
#include <vector>

#include "core/base/tensor.h"
#include "kernels/cpu/softmax_attention_blocks.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/workspace.h"
#include "kernels/matmul.h"
#include "kernels/softmax_attention.h"

namespace halo::kernels::cpu {
namespace {

/// What the backward pass reads of the queries, copied together: for each (batch element, key/value head) the rows of
/// its blocks of queries, one block after the other.
template <class T>
struct PackedQueries {
  Tensor q, d_o, lse, delta;  // delta = the sum over channels of do * o

  PackedQueries(const AttentionForward& x, const TensorView& do_view, const QueryBlocks& blocks,
                Stream& stream) {
    const std::int64_t groups = x.q.dim(1) * x.k.dim(2), K = x.q.dim(3);
    q = Tensor(stream, {groups, blocks.group_rows(), K}, x.q.dtype);
    d_o = Tensor(stream, {groups, blocks.group_rows(), K}, x.q.dtype);
    lse = Tensor(stream, {groups, blocks.group_rows()}, x.q.dtype);
    delta = Tensor(stream, {groups, blocks.group_rows()}, x.q.dtype);
    stream.parallel_for(groups * blocks.count(), blocks.max_rows() * K * 4,
                        [&](std::int64_t first, std::int64_t last) {
                          for (std::int64_t i = first; i < last; ++i)
                            pack(x, do_view, i / blocks.count(), blocks, i % blocks.count());
                        });
  }

 private:
  void pack(const AttentionForward& x, const TensorView& do_view, std::int64_t group,
            const QueryBlocks& blocks, std::int64_t block) {
    const HeadRows rows = blocks.rows(group, block);
    const std::int64_t K = x.q.dim(3), first = blocks.first_row(group, block);
    gather(q.view().template as<T>() + first * K, x.q, rows);
    gather(d_o.view().template as<T>() + first * K, do_view, rows);
    for (std::int64_t m = 0; m < rows.rows(); ++m) {
      const std::int64_t t = rows.begin + m % rows.count, h = rows.first_head + m / rows.count;
      const T* o = head_row<T>(x.o, t, rows.batch, h);
      const T* gradient = head_row<T>(do_view, t, rows.batch, h);
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < K; ++i) sum += o[i] * gradient[i];
      delta.view().template as<T>()[first + m] = sum;
      lse.view().template as<T>()[first + m] = *head_row<T>(x.lse, t, rows.batch, h);
    }
  }
};

/// p = e^(s - lse) where seen, else 0; dp becomes the gradient of the logits, scale * p * (dp - delta).
template <class T>
void differentiate_row(T* p, T* dp, std::int64_t n, const KeyRange& seen, T lse, T delta, T scale) {
  if (seen.empty()) {
    std::fill_n(p, n, T{0});
    std::fill_n(dp, n, T{0});
    return;
  }
  std::fill_n(p, seen.begin, T{0});
  std::fill_n(dp, seen.begin, T{0});
#pragma omp simd
  for (std::int64_t i = seen.begin; i < seen.end; ++i) {
    p[i] = exp_approx(p[i] - lse);
    dp[i] = scale * p[i] * (dp[i] - delta);
  }
  std::fill(p + seen.end, p + n, T{0});
  std::fill(dp + seen.end, dp + n, T{0});
}

/// A block of keys on its way along the queries, with the gradients of its keys and values.
template <class T>
class KeyBlock {
 public:
  KeyBlock(const AttentionForward& x, const HeadRows& rows, std::int64_t max_queries, double scale,
           Workspace<T> memory)
      : rows_(rows),
        K_(x.k.dim(3)),
        scale_(static_cast<T>(scale)),
        k_(memory.take(rows.count * K_)),
        v_(memory.take(rows.count * K_)),
        dk_(memory.take(rows.count * K_)),
        dv_(memory.take(rows.count * K_)),
        p_(memory.take(max_queries * rows.count)),
        dp_(memory.take(max_queries * rows.count)) {
    gather(k_, x.k, rows);
    gather(v_, x.v, rows);
    std::fill_n(dk_, rows.count * K_, T{0});
    std::fill_n(dv_, rows.count * K_, T{0});
  }
  /// Elements of memory that a block of so many keys takes.
  static std::int64_t elements(std::int64_t keys, std::int64_t K, std::int64_t max_queries) {
    return keys * (4 * K + 2 * max_queries);
  }

  /// Adds what the queries of one block, whose first packed row is `first`, give and get; dq are their rows.
  void visit(const PackedQueries<T>& packed, std::int64_t first, const HeadRows& queries,
             const VisibleKeys& visible, T* dq) {
    const KeyRange range = visible.of_block(queries.begin, queries.count, queries.batch)
                               .within({rows_.begin, rows_.begin + rows_.count});
    if (range.empty()) return;
    const std::int64_t M = queries.rows(), n = range.end - range.begin;
    const std::int64_t skipped = (range.begin - rows_.begin) * K_;
    const T* q = packed.q.view().template as<T>() + first * K_;
    const T* d_o = packed.d_o.view().template as<T>() + first * K_;
    const T* k = k_ + skipped;
    const T* v = v_ + skipped;
    T *p = p_, *dp = dp_;
    matmul_block(MatmulBlock<T>{M, n, K_, q, K_, false, k, K_, true, p, n, scale_, 0});
    matmul_block(MatmulBlock<T>{M, n, K_, d_o, K_, false, v, K_, true, dp, n, 1, 0});
    for (std::int64_t m = 0; m < M; ++m) {
      const KeyRange seen =
          visible.of(queries.begin + m % queries.count, queries.batch).within(range);
      differentiate_row(p + m * n, dp + m * n, n,
                        {seen.begin - range.begin, seen.end - range.begin},
                        packed.lse.view().template as<T>()[first + m],
                        packed.delta.view().template as<T>()[first + m], scale_);
    }
    T* dk = dk_ + skipped;
    T* dv = dv_ + skipped;
    matmul_block(MatmulBlock<T>{n, K_, M, p, n, true, d_o, K_, false, dv, K_, 1, 1});
    matmul_block(MatmulBlock<T>{n, K_, M, dp, n, true, q, K_, false, dk, K_, 1, 1});
    matmul_block(MatmulBlock<T>{M, K_, n, dp, n, false, k, K_, false, dq, K_, 1, 1});
  }

  void write(const AttentionGradients& gradients) const {
    scatter(gradients.dk, rows_, dk_);
    scatter(gradients.dv, rows_, dv_);
  }

 private:
  HeadRows rows_;
  std::int64_t K_;
  T scale_;
  T *k_, *v_, *dk_, *dv_, *p_, *dp_;
};

/// Cuts the blocks of keys into at most `pieces` ranges of like cost, the cost of a block being the blocks of queries
/// that see it. Returns the ranges' borders, 0 first and the number of key blocks last.
std::vector<std::int64_t> cut_keys(std::int64_t S, std::int64_t b, std::int64_t pieces,
                                   const QueryBlocks& blocks, const VisibleKeys& visible,
                                   std::int64_t group) {
  const std::int64_t key_blocks = (S + kKeyBlock - 1) / kKeyBlock;
  std::vector<std::int64_t> cost(static_cast<std::size_t>(key_blocks), 0);
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < blocks.count(); ++i) {
    const HeadRows rows = blocks.rows(group, i);
    const KeyRange range = visible.of_block(rows.begin, rows.count, b);
    for (std::int64_t j = range.begin / kKeyBlock; j * kKeyBlock < range.end; ++j, ++total)
      ++cost[static_cast<std::size_t>(j)];
  }
  std::vector<std::int64_t> borders = {0};
  std::int64_t sum = 0;
  for (std::int64_t j = 0; j + 1 < key_blocks && std::ssize(borders) < pieces; ++j) {
    sum += cost[static_cast<std::size_t>(j)];
    if (sum * pieces >= total * std::ssize(borders)) borders.push_back(j + 1);
  }
  borders.push_back(key_blocks);
  return borders;
}

template <class T>
class Backward {
 public:
  Backward(const AttentionGradients& gradients, const TensorView& d_o, const AttentionForward& x,
           double scale, const AttentionMask& mask, Stream& stream)
      : gradients_(gradients),
        x_(x),
        scale_(scale),
        stream_(stream),
        blocks_(x.q, x.k),
        visible_(mask, x.k.dim(0)),
        packed_(x, d_o, blocks_, stream),
        groups_(x.q.dim(1) * x.k.dim(2)) {
    // Five products a pair of blocks where a group's keys are walked by one thread. Few groups with many keys are cut
    // into ranges of keys, each with a dq of its own that are summed in order.
    constexpr std::int64_t kWantedItems = 16, kShortestPiece = 1024;
    pieces_ = std::clamp<std::int64_t>(kWantedItems / std::max<std::int64_t>(groups_, 1), 1,
                                       std::max<std::int64_t>(1, x.k.dim(0) / kShortestPiece));
    dq_ = Tensor(stream, {pieces_, groups_, blocks_.group_rows(), x.q.dim(3)}, x.q.dtype);
  }

  void run() {
    const std::int64_t keys = std::min(kKeyBlock, x_.k.dim(0));
    each_with_workspace<T>(stream_, groups_ * pieces_,
                           KeyBlock<T>::elements(keys, x_.k.dim(3), blocks_.max_rows()),
                           [&](std::int64_t i, const Workspace<T>& memory) {
                             walk(i % groups_, i / groups_, memory);
                           });
    stream_.parallel_for(groups_ * blocks_.count(), blocks_.max_rows() * x_.q.dim(3) * pieces_,
                         [&](std::int64_t first, std::int64_t last) {
                           for (std::int64_t i = first; i < last; ++i)
                             write_queries(i / blocks_.count(), i % blocks_.count());
                         });
  }

 private:
  [[nodiscard]] T* dq_rows(std::int64_t piece, std::int64_t first_row) const {
    return dq_.view().template as<T>() +
           (piece * groups_ * blocks_.group_rows() + first_row) * x_.q.dim(3);
  }

  /// The keys of one piece of one group against all queries.
  void walk(std::int64_t group, std::int64_t piece, const Workspace<T>& memory) {
    const std::int64_t S = x_.k.dim(0), G = x_.k.dim(2), K = x_.k.dim(3);
    std::fill_n(dq_rows(piece, blocks_.first_row(group, 0)), blocks_.group_rows() * K, T{0});
    const std::vector<std::int64_t> borders =
        cut_keys(S, group / G, pieces_, blocks_, visible_, group);
    if (piece + 1 >= std::ssize(borders)) return;
    const auto at = static_cast<std::size_t>(piece);
    for (std::int64_t j = borders[at]; j < borders[at + 1]; ++j) {
      const HeadRows rows{group / G, group % G, 1, j * kKeyBlock,
                          std::min(kKeyBlock, S - j * kKeyBlock)};
      KeyBlock<T> keys(x_, rows, blocks_.max_rows(), scale_, memory);
      for (std::int64_t i = 0; i < blocks_.count(); ++i) {
        const std::int64_t first = blocks_.first_row(group, i);
        keys.visit(packed_, first, blocks_.rows(group, i), visible_, dq_rows(piece, first));
      }
      keys.write(gradients_);
    }
  }

  void write_queries(std::int64_t group, std::int64_t block) {
    const HeadRows rows = blocks_.rows(group, block);
    const std::int64_t first = blocks_.first_row(group, block), n = rows.rows() * x_.q.dim(3);
    T* sum = dq_rows(0, first);
    for (std::int64_t piece = 1; piece < pieces_; ++piece) {
      const T* part = dq_rows(piece, first);
      for (std::int64_t i = 0; i < n; ++i) sum[i] += part[i];
    }
    scatter(gradients_.dq, rows, sum);
  }

  const AttentionGradients& gradients_;
  const AttentionForward& x_;
  double scale_;
  Stream& stream_;
  QueryBlocks blocks_;
  VisibleKeys visible_;
  PackedQueries<T> packed_;
  std::int64_t groups_, pieces_ = 1;
  Tensor dq_;  // (pieces, groups, rows of a group, K), packed like the queries
};

}  // namespace

void softmax_attention_backward(const AttentionGradients& gradients, TensorView d_o,
                                const AttentionForward& forward, double scale,
                                const AttentionMask& mask, Stream& stream) {
  dispatch_cpu_float(forward.q.dtype, [&](auto zero) {
    Backward<decltype(zero)>(gradients, d_o, forward, scale, mask, stream).run();
  });
}

}  // namespace halo::kernels::cpu
