#pragma once
#include <cstdint>
#include <vector>

namespace halo::parallel {

/// A run of neighbouring tokens of a sequence that one rank holds.
struct Fragment {
  int index = 0;                 // in the order of the sequence
  int rank = 0;                  // who holds it
  std::int64_t local_begin = 0;  // its first token among those of that rank
  std::int64_t begin = 0;        // tokens [begin, end) of the sequence
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t length() const { return end - begin; }
  [[nodiscard]] std::int64_t local_end() const { return local_begin + length(); }
};

/// How the tokens of a sequence lie on the ranks of the context axis: in fragments of one length. Contiguous: one a
/// rank. Zigzag: rank r of P holds fragments r and 2P - 1 - r, so that causal attention is as much work on every rank.
/// A single rank holds a single fragment in both.
class SequenceCut {
 public:
  enum class Kind : std::uint8_t { kContiguous, kZigzag };
  /// Throws Error unless T divides into the fragments.
  SequenceCut(std::int64_t T, int ranks, Kind kind);

  [[nodiscard]] int ranks() const { return ranks_; }
  [[nodiscard]] std::int64_t tokens() const { return T_; }
  [[nodiscard]] std::int64_t tokens_per_rank() const { return T_ / ranks_; }
  /// In the order of the sequence.
  [[nodiscard]] const std::vector<Fragment>& fragments() const { return fragments_; }
  /// Those of one rank, in their order on it, which is also that of the sequence.
  [[nodiscard]] std::vector<Fragment> of_rank(int rank) const;

 private:
  std::int64_t T_;
  int ranks_;
  std::vector<Fragment> fragments_;
};

/// The fragments that `ranks` ranks cut a sequence into: what its length must be a multiple of.
[[nodiscard]] int fragment_count(int ranks, SequenceCut::Kind kind);

}  // namespace halo::parallel
