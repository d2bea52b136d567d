#pragma once
#include <cstdint>

#include "parallel/region.h"

namespace halo::parallel {

/// A half-open range of rows, heads or tokens.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  [[nodiscard]] bool operator==(const Range&) const = default;
};

/// The share of `rank` when n items are cut as evenly as possible among `ranks`.
[[nodiscard]] inline Range even_share(std::int64_t n, int rank, int ranks) {
  return {n * rank / ranks, n * (rank + 1) / ranks};
}

/// How a tensor lies on the ranks of the tensor axis: whole on each, or cut along one axis between units of `unit` rows or
/// columns, say of one head. Key and value heads go to the ranks whose query heads read them, so that several ranks may
/// hold the same ones.
struct Placement {
  int axis = -1;             // -1: whole on every rank
  std::int64_t unit = 1;     // rows or columns that stay together
  std::int64_t queries = 0;  // key heads: how many query heads read them; 0: each unit on one rank

  [[nodiscard]] static Placement whole() { return {}; }
  [[nodiscard]] static Placement rows(std::int64_t unit = 1) { return {0, unit, 0}; }
  [[nodiscard]] static Placement columns(std::int64_t unit = 1) { return {1, unit, 0}; }
  [[nodiscard]] static Placement key_heads(std::int64_t unit, std::int64_t queries) {
    return {0, unit, queries};
  }
  [[nodiscard]] bool operator==(const Placement&) const = default;
};

/// What `rank` of `ranks` holds of a tensor. Throws Error when the units do not divide the axis.
[[nodiscard]] Region held_region(const Shape& shape, const Placement& placement, int rank,
                                 int ranks);
/// The part of it that this rank alone counts: of what several hold, the lowest rank's. Norms, checkpoints and counts of
/// parameters go by it. May be empty.
[[nodiscard]] Region counted_region(const Shape& shape, const Placement& placement, int rank,
                                    int ranks);
/// Whether other ranks hold some of what this tensor's ranks hold, so that their gradients must be summed.
[[nodiscard]] bool is_shared(const Shape& shape, const Placement& placement, int ranks);

/// The key heads that `rank`'s share of `queries` query heads reads, of `keys` in all.
[[nodiscard]] Range key_heads_of(std::int64_t queries, std::int64_t keys, int rank, int ranks);

}  // namespace halo::parallel
