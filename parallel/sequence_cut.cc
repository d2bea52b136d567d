#include "parallel/sequence_cut.h"

#include "core/base/error.h"

namespace halo::parallel {

int fragment_count(int ranks, SequenceCut::Kind kind) {
  return kind == SequenceCut::Kind::kZigzag && ranks > 1 ? 2 * ranks : ranks;
}

SequenceCut::SequenceCut(std::int64_t T, int ranks, Kind kind) : T_(T), ranks_(ranks) {
  HALO_REQUIRE(ranks >= 1 && T >= 0, str("a sequence of ", T, " tokens on ", ranks, " ranks"));
  const int n = fragment_count(ranks, kind);
  HALO_REQUIRE(T % n == 0,
               str("a sequence of ", T, " tokens does not divide into ", n, " fragments"));
  const std::int64_t length = T / n;
  for (int i = 0; i < n; ++i) {
    const bool second = i >= ranks;
    fragments_.push_back(
        {i, second ? n - 1 - i : i, second ? length : 0, i * length, (i + 1) * length});
  }
}

std::vector<Fragment> SequenceCut::of_rank(int rank) const {
  std::vector<Fragment> own;
  for (const Fragment& fragment : fragments_)
    if (fragment.rank == rank) own.push_back(fragment);
  return own;
}

}  // namespace halo::parallel
