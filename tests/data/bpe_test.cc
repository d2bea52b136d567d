#include "data/bpe.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/rng.h"

namespace halo::data {
namespace {

using Ids = std::vector<std::int32_t>;

/// The definition: merge the pair of lowest rank, of equals the leftmost, until there is none.
Ids merge_slowly(const BpeSpec& spec, const std::string& piece) {
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::size_t, std::int32_t>> ranks;
  for (std::size_t i = 0; i < spec.merges.size(); ++i) {
    ranks[{spec.merges[i].left, spec.merges[i].right}] = {i, spec.merges[i].result};
  }
  Ids ids;
  for (const char c : piece) ids.push_back(spec.byte_ids[static_cast<unsigned char>(c)]);
  for (;;) {
    std::size_t best = std::numeric_limits<std::size_t>::max();
    std::size_t at = 0;
    std::int32_t result = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find({ids[i], ids[i + 1]});
      if (found == ranks.end() || found->second.first >= best) continue;
      best = found->second.first;
      result = found->second.second;
      at = i;
    }
    if (best == std::numeric_limits<std::size_t>::max()) return ids;
    ids[at] = result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

/// Random merges over three letters, of distinct strings as in any vocabulary.
BpeSpec random_spec(std::uint64_t seed) {
  BpeSpec spec;
  for (std::int32_t b = 0; b < 256; ++b) spec.byte_ids[static_cast<std::size_t>(b)] = 255 - b;
  std::vector<std::string> texts{"a", "b", "c"};
  std::vector<std::int32_t> ids{255 - 'a', 255 - 'b', 255 - 'c'};
  std::map<std::string, std::int32_t> known;
  const CounterRng rng(seed, "merges");
  for (std::uint64_t i = 0; i < 60; ++i) {
    const auto l = static_cast<std::size_t>(rng.below(texts.size(), 2 * i));
    const auto r = static_cast<std::size_t>(rng.below(texts.size(), 2 * i + 1));
    const std::string text = texts[l] + texts[r];
    if (text.size() > 12) continue;
    const auto next = static_cast<std::int32_t>(256 + known.size());
    const auto [token, is_new] = known.emplace(text, next);
    spec.merges.push_back({ids[l], ids[r], token->second});
    if (is_new) {
      texts.push_back(text);
      ids.push_back(next);
    }
  }
  return spec;
}

TEST(BpeTest, ShortAndLongPiecesFollowTheDefinition) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const BpeSpec spec = random_spec(seed);
    const Bpe bpe(spec);
    Bpe::Scratch scratch;
    const CounterRng rng(seed, "pieces");
    for (std::uint64_t i = 0; i < 60; ++i) {
      // Lengths on both sides of where the algorithm changes.
      const auto length = static_cast<std::size_t>(i % 4 == 0 ? 60 + i / 4 : rng.below(200, i));
      std::string piece;
      for (std::size_t j = 0; j < length; ++j) {
        piece += static_cast<char>('a' + rng.below(3, 1000 * (i + 1) + j));
      }
      Ids ids{-7};  // what is there stays
      bpe.encode(piece, scratch, ids);
      Ids expected = merge_slowly(spec, piece);
      expected.insert(expected.begin(), -7);
      ASSERT_EQ(ids, expected) << seed << ' ' << piece;
    }
  }
}

TEST(BpeTest, LongPiecesTakeNoQuadraticTime) {
  const Bpe bpe(random_spec(1));
  Bpe::Scratch scratch;
  Ids ids;
  bpe.encode(std::string(1'000'000, 'a'), scratch, ids);  // hours, were it quadratic
  EXPECT_GT(ids.size(), 0u);
}

TEST(BpeTest, WholePiecesComeBeforeMerges) {
  BpeSpec spec = random_spec(2);
  spec.whole_pieces.emplace("abcabc", 999);
  const Bpe bpe(spec);
  Bpe::Scratch scratch;
  Ids ids;
  bpe.encode("abcabc", scratch, ids);
  EXPECT_EQ(ids, Ids{999});
}

}  // namespace
}  // namespace halo::data
