#pragma once
#include <array>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe.h"

namespace halo::data {

/// Learns the merges of byte-pair encoding from pieces of text and their counts. Pair counts are kept up to date at each
/// merge, so the time is that of the occurrences merged.
class BpeLearner {
 public:
  /// byte_ids[b] is the id of byte b, a permutation of 0 ... 255.
  explicit BpeLearner(const std::array<std::int32_t, 256>& byte_ids);

  void add(std::string_view piece, std::int64_t count);
  /// Merges, in order, of pairs that occur at least `min_count` times, until there are `limit` tokens. To be called
  /// once.
  [[nodiscard]] std::vector<Merge> learn(std::int64_t limit, std::int64_t min_count);
  /// The bytes of each token, by id: first the single bytes, then each merge's result in order. Two merges may have the
  /// same result.
  [[nodiscard]] const std::vector<std::string>& tokens() const { return tokens_; }

 private:
  struct Word {
    std::vector<std::int32_t> tokens;
    std::int64_t count;
  };
  struct Pair {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // that held it once; not all still do
  };
  struct Candidate {
    std::int64_t count;
    std::uint64_t pair;
    /// The most frequent pair is the greatest; of equals that of lower ids.
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  void count_pairs();
  Merge make_merge(std::uint64_t pair);
  void apply(const Merge& merge, std::vector<std::uint32_t> words);
  void merge_in(std::uint32_t word, const Merge& merge);
  void change(std::uint64_t pair, std::int64_t by, std::uint32_t word);

  std::array<std::int32_t, 256> byte_ids_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;  // of tokens_
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, Pair> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<std::uint64_t> grown_;  // pairs that the last merge made more frequent
};

}  // namespace halo::data
