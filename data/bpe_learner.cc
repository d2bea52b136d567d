#include "data/bpe_learner.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/error.h"

namespace halo::data {
namespace {

std::uint64_t key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint32_t>(right);
}

}  // namespace

BpeLearner::BpeLearner(const std::array<std::int32_t, 256>& byte_ids)
    : byte_ids_(byte_ids), tokens_(256) {
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    tokens_[static_cast<std::size_t>(byte_ids_[byte])] += static_cast<char>(byte);
  }
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    ids_.emplace(tokens_[id], static_cast<std::int32_t>(id));
  }
}

void BpeLearner::add(std::string_view piece, std::int64_t count) {
  if (piece.size() < 2) return;  // nothing to merge
  HALO_REQUIRE(words_.size() < std::numeric_limits<std::uint32_t>::max(),
               "more than 2^32 distinct pieces of text");
  Word word{{}, count};
  for (const char c : piece) word.tokens.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  words_.push_back(std::move(word));
}

void BpeLearner::change(std::uint64_t pair, std::int64_t by, std::uint32_t word) {
  Pair& entry = pairs_[pair];
  entry.count += by;
  if (by < 0) return;
  if (entry.words.empty() || entry.words.back() != word) entry.words.push_back(word);
  grown_.push_back(pair);
}

void BpeLearner::count_pairs() {
  for (std::uint32_t w = 0; w < words_.size(); ++w) {
    const Word& word = words_[w];
    for (std::size_t i = 0; i + 1 < word.tokens.size(); ++i) {
      change(key(word.tokens[i], word.tokens[i + 1]), word.count, w);
    }
  }
  grown_.clear();
  for (const auto& [pair, entry] : pairs_) queue_.push({entry.count, pair});
}

/// Replaces the pair from left to right, and moves the counts of its neighbours over.
void BpeLearner::merge_in(std::uint32_t w, const Merge& merge) {
  Word& word = words_[w];
  std::vector<std::int32_t>& tokens = word.tokens;
  std::size_t end = 0;  // tokens[0, end) is the new word
  for (std::size_t i = 0; i < tokens.size();) {
    const bool match =
        i + 1 < tokens.size() && tokens[i] == merge.left && tokens[i + 1] == merge.right;
    if (!match) {
      tokens[end++] = tokens[i++];
      continue;
    }
    change(key(merge.left, merge.right), -word.count, w);
    if (end > 0) {
      change(key(tokens[end - 1], merge.left), -word.count, w);
      change(key(tokens[end - 1], merge.result), word.count, w);
    }
    if (i + 2 < tokens.size()) {
      change(key(merge.right, tokens[i + 2]), -word.count, w);
      change(key(merge.result, tokens[i + 2]), word.count, w);
    }
    tokens[end++] = merge.result;
    i += 2;
  }
  tokens.resize(end);
}

Merge BpeLearner::make_merge(std::uint64_t pair) {
  Merge merge{static_cast<std::int32_t>(pair >> 32), static_cast<std::int32_t>(pair & 0xffffffff),
              static_cast<std::int32_t>(tokens_.size())};
  const std::string bytes = tokens_[static_cast<std::size_t>(merge.left)] +
                            tokens_[static_cast<std::size_t>(merge.right)];
  const auto [known, is_new] = ids_.emplace(bytes, merge.result);
  if (is_new) tokens_.push_back(bytes);
  merge.result = known->second;
  return merge;
}

void BpeLearner::apply(const Merge& merge, std::vector<std::uint32_t> words) {
  grown_.clear();
  for (const std::uint32_t word : words) merge_in(word, merge);
  pairs_.erase(key(merge.left, merge.right));
  std::sort(grown_.begin(), grown_.end());
  grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
  for (const std::uint64_t pair : grown_) {
    const auto found = pairs_.find(pair);
    if (found != pairs_.end() && found->second.count > 0) queue_.push({found->second.count, pair});
  }
}

std::vector<Merge> BpeLearner::learn(std::int64_t limit, std::int64_t min_count) {
  count_pairs();
  std::vector<Merge> merges;
  while (std::ssize(tokens_) < limit && !queue_.empty()) {
    const Candidate best = queue_.top();
    queue_.pop();
    const auto found = pairs_.find(best.pair);
    if (found == pairs_.end()) continue;
    Pair& entry = found->second;
    if (entry.count !=
        best.count) {  // it changed since it was queued; when it grew it was queued again
      if (entry.count > 0 && entry.count < best.count) queue_.push({entry.count, best.pair});
      continue;
    }
    if (best.count < min_count) break;
    merges.push_back(make_merge(best.pair));
    apply(merges.back(), std::move(entry.words));
  }
  return merges;
}

}  // namespace halo::data
