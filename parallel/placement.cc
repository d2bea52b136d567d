#include "parallel/placement.h"

#include <algorithm>

namespace halo::parallel {
namespace {

std::int64_t units_of(const Shape& shape, const Placement& placement) {
  const std::int64_t length = shape[placement.axis];
  HALO_REQUIRE(placement.unit > 0 && length % placement.unit == 0,
               str("an axis of ", length, " does not divide into units of ", placement.unit));
  return length / placement.unit;
}

Range held_units(const Shape& shape, const Placement& placement, int rank, int ranks) {
  const std::int64_t n = units_of(shape, placement);
  return placement.queries > 0 ? key_heads_of(placement.queries, n, rank, ranks)
                               : even_share(n, rank, ranks);
}

Region along(const Shape& shape, const Placement& placement, const Range& units) {
  Region region = whole(shape);
  region.offset[placement.axis] = units.begin * placement.unit;
  region.shape[placement.axis] = units.size() * placement.unit;
  return region;
}

}  // namespace

Range key_heads_of(std::int64_t queries, std::int64_t keys, int rank, int ranks) {
  const Range own = even_share(queries, rank, ranks);
  if (own.size() == 0) return {0, 0};
  return {own.begin * keys / queries, (own.end - 1) * keys / queries + 1};
}

Region held_region(const Shape& shape, const Placement& placement, int rank, int ranks) {
  if (placement.axis < 0) return whole(shape);
  return along(shape, placement, held_units(shape, placement, rank, ranks));
}

Region counted_region(const Shape& shape, const Placement& placement, int rank, int ranks) {
  if (placement.axis < 0) {
    Region region = whole(shape);
    if (rank > 0) region.shape[0] = 0;
    return region;
  }
  Range units = held_units(shape, placement, rank, ranks);
  if (rank > 0)  // neighbours share the units at their border, and lower ranks come first
    units.begin = std::max(units.begin, held_units(shape, placement, rank - 1, ranks).end);
  units.end = std::max(units.begin, units.end);
  return along(shape, placement, units);
}

bool is_shared(const Shape& shape, const Placement& placement, int ranks) {
  if (placement.axis < 0) return ranks > 1;
  for (int rank = 1; rank < ranks; ++rank) {
    if (held_units(shape, placement, rank, ranks).begin <
        held_units(shape, placement, rank - 1, ranks).end)
      return true;
  }
  return false;
}

}  // namespace halo::parallel
