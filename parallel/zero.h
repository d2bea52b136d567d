#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace halo::parallel {

// ZeRO-1 over the ranks that share parameters: a flat array of parameters is cut into buckets, and each bucket among the
// ranks, always between whole rows of a parameter, so that what a rank owns is a rectangle of each tensor it touches.
// Source: Rajbhandari et al. 2020 (ZeRO), stage 1.

/// Where one parameter stands in a flat array: `rows` rows of `row_length` elements from `offset`.
struct FlatParameter {
  std::int64_t offset = 0;
  std::int64_t rows = 0;
  std::int64_t row_length = 0;
};

/// Elements [begin, end) of the flat array; rank r owns [cuts[r], cuts[r + 1]).
struct Bucket {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::vector<std::int64_t> cuts;
  [[nodiscard]] std::vector<std::int64_t> counts()
      const;  // elements a rank, for reduce_scatter and all_gather
};

/// Buckets of whole parameters, at least `bucket_elements` each but the last, that together cover [0, total). Cuts are
/// as even as rows allow. Parameters come by rising offset. Throws Error unless ranks >= 1.
[[nodiscard]] std::vector<Bucket> make_buckets(std::span<const FlatParameter> parameters,
                                               std::int64_t total, std::int64_t bucket_elements,
                                               int ranks);

/// Rows [row_begin, row_end) of a parameter, which start at `offset` of the flat array.
struct OwnedRows {
  std::size_t parameter = 0;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t offset = 0;
};
/// What `rank` owns, in flat order.
[[nodiscard]] std::vector<OwnedRows> owned_rows(std::span<const FlatParameter> parameters,
                                                std::span<const Bucket> buckets, int rank);

}  // namespace halo::parallel
