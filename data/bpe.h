#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace halo::data {

/// Two neighbouring tokens that become one. Earlier merges of a list go first.
struct Merge {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t result = 0;
};

struct BpeSpec {
  std::array<std::int32_t, 256> byte_ids{};  // the token of each single byte
  std::vector<Merge> merges;                 // ids below 2^31, in order of rank
  /// Pieces that are one token whatever the merges say (the file's ignore_merges): bytes to id.
  std::unordered_map<std::string, std::int32_t> whole_pieces;
};

/// Byte-pair encoding of one piece of text. Const methods may run on several threads, each with its own Scratch.
/// Source: Sennrich et al. 2016, "Neural machine translation of rare words with subword units".
class Bpe {
 public:
  explicit Bpe(BpeSpec spec);

  struct Symbol {
    std::int32_t id;
    std::int32_t previous, next;  // places in `symbols`, -1 at the ends
    bool alive;
  };
  struct Candidate {
    std::int32_t rank, place, result;
  };
  struct Scratch {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> ranks;
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
  };

  /// Appends the ids of `piece` (bytes): again and again the pair of lowest rank is merged, of equals the leftmost.
  /// Time O(n log n) in the piece's bytes.
  void encode(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  struct Entry {
    std::uint64_t pair = kEmpty;
    std::int32_t rank = 0;
    std::int32_t result = 0;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  [[nodiscard]] const Entry& entry(std::int32_t left, std::int32_t right) const;
  [[nodiscard]] std::int32_t rank(std::int32_t left, std::int32_t right) const;
  void encode_short(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void encode_long(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void push_candidate(std::int32_t place, Scratch& scratch) const;

  BpeSpec spec_;
  std::vector<Entry> table_;  // open addressing, a power of two, at most half full
  int shift_ = 0;
};

}  // namespace halo::data
