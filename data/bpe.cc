#include "data/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "core/base/error.h"

namespace halo::data {
namespace {

constexpr std::int32_t kNoMerge = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kShort = 64;  // bytes; below, looking at every pair beats a queue

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t pair, int shift) {
  pair ^= pair >> 29;
  return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> shift);
}

/// For a heap whose top is the lowest rank, of equals the leftmost.
bool later(const Bpe::Candidate& a, const Bpe::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.place > b.place;
}

}  // namespace

Bpe::Bpe(BpeSpec spec) : spec_(std::move(spec)) {
  const std::size_t slots = std::bit_ceil(std::max<std::size_t>(16, spec_.merges.size() * 2));
  shift_ = 64 - std::countr_zero(slots);
  table_.resize(slots);
  std::int32_t rank = 0;
  for (const Merge& merge : spec_.merges) {
    const std::uint64_t pair = pair_key(merge.left, merge.right);
    std::size_t slot = slot_of(pair, shift_);
    while (table_[slot].pair != kEmpty && table_[slot].pair != pair) slot = (slot + 1) % slots;
    table_[slot] = {pair, rank++, merge.result};  // of a pair written twice the later line counts
  }
}

const Bpe::Entry& Bpe::entry(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_key(left, right);
  const std::size_t mask = table_.size() - 1;
  std::size_t slot = slot_of(pair, shift_);
  while (table_[slot].pair != pair && table_[slot].pair != kEmpty) slot = (slot + 1) & mask;
  return table_[slot];
}

std::int32_t Bpe::rank(std::int32_t left, std::int32_t right) const {
  const Entry& found = entry(left, right);
  return found.pair == kEmpty ? kNoMerge : found.rank;
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  HALO_REQUIRE(piece.size() < static_cast<std::size_t>(kNoMerge), "a piece of 2 GiB");
  if (!spec_.whole_pieces.empty()) {
    if (const auto whole = spec_.whole_pieces.find(std::string(piece));
        whole != spec_.whole_pieces.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  if (piece.size() <= kShort) {
    encode_short(piece, scratch, ids);
  } else {
    encode_long(piece, scratch, ids);
  }
}

void Bpe::encode_short(std::string_view piece, Scratch& scratch,
                       std::vector<std::int32_t>& ids) const {
  std::vector<std::int32_t>& symbols = scratch.ids;
  std::vector<std::int32_t>& ranks = scratch.ranks;  // of the pair (i, i + 1)
  symbols.clear();
  ranks.clear();
  for (const char c : piece) symbols.push_back(spec_.byte_ids[static_cast<unsigned char>(c)]);
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    ranks.push_back(rank(symbols[i], symbols[i + 1]));
  }
  while (!ranks.empty()) {
    const auto lowest = std::min_element(ranks.begin(), ranks.end());
    if (*lowest == kNoMerge) break;
    const auto i = static_cast<std::size_t>(lowest - ranks.begin());
    symbols[i] = entry(symbols[i], symbols[i + 1]).result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(lowest);
    if (i < ranks.size()) ranks[i] = rank(symbols[i], symbols[i + 1]);
    if (i > 0) ranks[i - 1] = rank(symbols[i - 1], symbols[i]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void Bpe::push_candidate(std::int32_t place, Scratch& scratch) const {
  const Symbol& left = scratch.symbols[static_cast<std::size_t>(place)];
  if (left.next < 0) return;
  const Entry& found = entry(left.id, scratch.symbols[static_cast<std::size_t>(left.next)].id);
  if (found.pair == kEmpty) return;
  scratch.queue.push_back({found.rank, place, found.result});
  std::push_heap(scratch.queue.begin(), scratch.queue.end(), later);
}

void Bpe::encode_long(std::string_view piece, Scratch& scratch,
                      std::vector<std::int32_t>& ids) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  scratch.queue.clear();
  const auto n = static_cast<std::int32_t>(piece.size());
  for (std::int32_t i = 0; i < n; ++i) {
    const auto byte = static_cast<unsigned char>(piece[static_cast<std::size_t>(i)]);
    symbols.push_back({spec_.byte_ids[byte], i - 1, i + 1 < n ? i + 1 : -1, true});
  }
  for (std::int32_t i = 0; i < n; ++i) push_candidate(i, scratch);
  while (!scratch.queue.empty()) {
    std::pop_heap(scratch.queue.begin(), scratch.queue.end(), later);
    const Candidate best = scratch.queue.back();
    scratch.queue.pop_back();
    Symbol& left = symbols[static_cast<std::size_t>(best.place)];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const Entry& now = entry(left.id, right.id);
    if (now.pair == kEmpty || now.rank != best.rank) continue;  // one of the two was merged since
    left.id = best.result;
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.place;
    push_candidate(best.place, scratch);
    if (left.previous >= 0) push_candidate(left.previous, scratch);
  }
  for (std::int32_t i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
    ids.push_back(symbols[static_cast<std::size_t>(i)].id);
  }
}

}  // namespace halo::data
