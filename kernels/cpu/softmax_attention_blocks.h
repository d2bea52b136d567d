#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/head_rows.h"
#include "kernels/softmax_attention.h"

namespace halo::kernels::cpu {

/// Keys [begin, end); empty when begin >= end.
struct KeyRange {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] bool empty() const { return begin >= end; }
  [[nodiscard]] KeyRange within(const KeyRange& other) const {
    return {std::max(begin, other.begin), std::min(end, other.end)};
  }
};

/// The keys that queries see under an AttentionMask: always one range a query.
class VisibleKeys {
 public:
  VisibleKeys(const AttentionMask& mask, std::int64_t S)
      : offset_(std::min(mask.query_offset, S)), S_(S), first_key_(mask.first_key) {}

  [[nodiscard]] KeyRange of(std::int64_t t, std::int64_t b) const {
    return {first(t, b), std::min(t + offset_ + 1, S_)};
  }
  /// The smallest range that holds those of the queries [t, t + n).
  [[nodiscard]] KeyRange of_block(std::int64_t t, std::int64_t n, std::int64_t b) const {
    std::int64_t begin = first(t, b);
    for (std::int64_t i = 1; i < n; ++i) begin = std::min(begin, first(t + i, b));
    return {begin, std::min(t + n + offset_, S_)};
  }

 private:
  [[nodiscard]] std::int64_t first(std::int64_t t, std::int64_t b) const {
    if (first_key_.empty()) return 0;
    const auto* keys = static_cast<const std::int32_t*>(first_key_.data);
    return std::max<std::int64_t>(keys[t * first_key_.stride(0) + b * first_key_.stride(1)], 0);
  }
  std::int64_t offset_, S_;
  TensorView first_key_;
};

/// How T queries are cut into blocks of neighbours; the R heads of one key/value head are taken together.
class QueryBlocks {
 public:
  QueryBlocks(const TensorView& q, const TensorView& k)
      : T_(q.dim(0)), G_(k.dim(2)), R_(q.dim(2) / k.dim(2)) {
    // Short sequences take small blocks, since a block on the diagonal is half masked.
    size_ = std::min<std::int64_t>(T_ <= 1024 ? 64 : 128, std::max<std::int64_t>(16, 512 / R_));
    count_ = (T_ + size_ - 1) / size_;
  }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] std::int64_t max_rows() const { return R_ * std::min(size_, T_); }
  [[nodiscard]] std::int64_t group_rows() const { return R_ * T_; }  // of all blocks of a group
  /// Where a block's rows begin when all rows of all groups are packed; `group` = b * G + g.
  [[nodiscard]] std::int64_t first_row(std::int64_t group, std::int64_t block) const {
    return R_ * (group * T_ + block * size_);
  }
  [[nodiscard]] HeadRows rows(std::int64_t group, std::int64_t block) const {
    const std::int64_t begin = block * size_;
    return {group / G_, group % G_ * R_, R_, begin, std::min(size_, T_ - begin)};
  }

 private:
  std::int64_t T_, G_, R_, size_, count_;
};

inline constexpr std::int64_t kKeyBlock = 256;

}  // namespace halo::kernels::cpu
