#include "parallel/zero.h"

#include <algorithm>

#include "core/base/error.h"

namespace halo::parallel {
namespace {

/// The border between rows of these parameters that is nearest to `target`; what lies between parameters goes with the
/// rank before.
std::int64_t nearest_border(std::span<const FlatParameter> parameters, std::int64_t begin,
                            std::int64_t end, std::int64_t target) {
  std::int64_t best = begin;
  const auto offer = [&](std::int64_t border) {
    if (std::abs(border - target) < std::abs(best - target)) best = border;
  };
  const auto offer_rows = [&](const FlatParameter& p) {  // false when it has none
    if (p.row_length == 0 || p.rows == 0) return false;
    const std::int64_t row =
        std::clamp<std::int64_t>((target - p.offset) / p.row_length, 0, p.rows);
    offer(p.offset + row * p.row_length);
    offer(p.offset + std::min(row + 1, p.rows) * p.row_length);
    return true;
  };
  const auto after = std::ranges::upper_bound(parameters, target, {}, &FlatParameter::offset);
  for (auto p = after; p != parameters.begin();)
    if (offer_rows(*--p)) break;
  for (auto p = after; p != parameters.end(); ++p)
    if (offer_rows(*p)) break;
  offer(end);
  return best;
}

Bucket make_bucket(std::span<const FlatParameter> parameters, std::int64_t begin, std::int64_t end,
                   int ranks) {
  Bucket bucket{begin, end, {}};
  bucket.cuts.reserve(static_cast<std::size_t>(ranks) + 1);
  bucket.cuts.push_back(begin);
  for (int rank = 1; rank < ranks; ++rank) {
    const std::int64_t target = begin + (end - begin) * rank / ranks;
    bucket.cuts.push_back(
        std::max(bucket.cuts.back(), nearest_border(parameters, begin, end, target)));
  }
  bucket.cuts.push_back(end);
  return bucket;
}

}  // namespace

std::vector<std::int64_t> Bucket::counts() const {
  std::vector<std::int64_t> counts;
  counts.reserve(cuts.size());
  for (std::size_t r = 0; r + 1 < cuts.size(); ++r) counts.push_back(cuts[r + 1] - cuts[r]);
  return counts;
}

std::vector<Bucket> make_buckets(std::span<const FlatParameter> parameters, std::int64_t total,
                                 std::int64_t bucket_elements, int ranks) {
  HALO_REQUIRE(ranks >= 1, str("buckets for ", ranks, " ranks"));
  std::vector<Bucket> buckets;
  std::int64_t begin = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const bool last = i + 1 == parameters.size();
    const std::int64_t end = last ? total : parameters[i + 1].offset;
    if (!last && end - begin < bucket_elements) continue;
    buckets.push_back(make_bucket(parameters.subspan(first, i + 1 - first), begin, end, ranks));
    begin = end;
    first = i + 1;
  }
  return buckets;
}

std::vector<OwnedRows> owned_rows(std::span<const FlatParameter> parameters,
                                  std::span<const Bucket> buckets, int rank) {
  std::vector<OwnedRows> owned;
  const auto r = static_cast<std::size_t>(rank);
  for (const Bucket& bucket : buckets) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const FlatParameter& p = parameters[i];
      if (p.row_length == 0) continue;
      const std::int64_t p_end = p.offset + p.rows * p.row_length;
      const std::int64_t begin = std::max(bucket.cuts[r], p.offset);
      const std::int64_t end = std::min(bucket.cuts[r + 1], p_end);
      if (begin >= end) continue;
      owned.push_back(
          {i, (begin - p.offset) / p.row_length, (end - p.offset) / p.row_length, begin});
    }
  }
  return owned;
}

}  // namespace halo::parallel
