#include "data/tokenizer_trainer.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/base/rng.h"
#include "data/bpe_learner.h"
#include "data/tokenizer.h"
#include "tests/data/complaint.h"

namespace halo::data {
namespace {

using nlohmann::json;

std::string words(std::uint64_t seed, int count) {
  const CounterRng rng(seed, "words");
  std::string text;
  for (int i = 0; i < count; ++i) {
    const auto n = static_cast<std::uint64_t>(i);
    const std::uint64_t word = rng.below(1 + rng.below(200, 2 * n), 2 * n + 1);  // few are frequent
    for (std::uint64_t rest = word + 3; rest > 0; rest /= 5)
      text += static_cast<char>('a' + rest % 5);
    text += ' ';
  }
  return text;
}

/// The definition: count all pairs anew before every merge.
std::vector<std::string> learn_slowly(const std::map<std::string, std::int64_t>& pieces,
                                      int merges) {
  std::map<std::string, std::int32_t> ids;
  for (int b = 0; b < 256; ++b) ids[std::string(1, static_cast<char>(b))] = b;
  std::vector<std::pair<std::vector<std::string>, std::int64_t>> split;
  for (const auto& [piece, count] : pieces) {
    std::vector<std::string> tokens;
    for (const char c : piece) tokens.emplace_back(1, c);
    split.emplace_back(tokens, count);
  }
  std::vector<std::string> learned;
  while (std::ssize(learned) < merges) {
    std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> counts;
    std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::string, std::string>> texts;
    for (const auto& [tokens, count] : split) {
      for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
        const std::pair key(ids[tokens[i]], ids[tokens[i + 1]]);
        counts[key] += count;
        texts[key] = {tokens[i], tokens[i + 1]};
      }
    }
    std::int64_t most = 1;
    for (const auto& [key, count] : counts) most = std::max(most, count);
    if (most < 2) break;
    const auto best = std::find_if(counts.begin(), counts.end(),
                                   [&](const auto& entry) { return entry.second == most; });
    const auto [left, right] = texts[best->first];
    learned.push_back(left + "+" + right);
    ids.emplace(left + right, static_cast<std::int32_t>(ids.size()));
    for (auto& [tokens, count] : split) {
      for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
        if (tokens[i] != left || tokens[i + 1] != right) continue;
        tokens[i] += right;
        tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return learned;
}

TEST(BpeLearnerTest, FollowsTheDefinition) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    std::map<std::string, std::int64_t> pieces;
    const CounterRng rng(seed, "pieces");
    for (std::uint64_t i = 0; i < 60; ++i) {
      std::string piece;
      for (std::uint64_t j = 0; j < 2 + rng.below(9, i); ++j) {
        piece += static_cast<char>('a' + rng.below(3, 100 * (i + 1) + j));
      }
      pieces[piece] += static_cast<std::int64_t>(1 + rng.below(4, 7000 + i));
    }
    std::array<std::int32_t, 256> ids{};
    for (std::int32_t b = 0; b < 256; ++b) ids[static_cast<std::size_t>(b)] = b;
    BpeLearner learner(ids);
    for (const auto& [piece, count] : pieces) learner.add(piece, count);
    const std::vector<Merge> merges = learner.learn(256 + 60, 2);
    std::vector<std::string> learned;
    for (const Merge& merge : merges) {
      learned.push_back(learner.tokens()[static_cast<std::size_t>(merge.left)] + "+" +
                        learner.tokens()[static_cast<std::size_t>(merge.right)]);
    }
    EXPECT_EQ(learned, learn_slowly(pieces, static_cast<int>(merges.size()))) << seed;
    EXPECT_GT(merges.size(), 50u);
  }
}

TEST(TokenizerTrainerTest, MakesTheVocabularyAskedFor) {
  TrainerOptions options;
  options.vocab_size = 300;
  TokenizerTrainer trainer(options);
  trainer.add(words(1, 20000));
  const Tokenizer tokenizer = Tokenizer::parse(trainer.train(), "trained");
  EXPECT_EQ(tokenizer.vocab_size(), 300);
  EXPECT_EQ(tokenizer.id_of("!"), 0);
  EXPECT_EQ(tokenizer.id_of("<|endoftext|>"), 297);
  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), 299);
  const std::string text = words(2, 1000) + "caf\xC3\xA9 <|im_end|>";
  const auto ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(ids.size() * 2, text.size());  // unmerged it would be one a byte
}

TEST(TokenizerTrainerTest, TheOrderOfDocumentsDoesNotMatter) {
  TrainerOptions options;
  options.vocab_size = 320;
  TokenizerTrainer a(options);
  TokenizerTrainer b(options);
  for (std::uint64_t i = 0; i < 6; ++i) a.add(words(i, 500));
  for (std::uint64_t i = 6; i > 0; --i) b.add(words(i - 1, 500));
  EXPECT_EQ(a.train(), b.train());
}

TEST(TokenizerTrainerTest, AShortTextGivesFewerTokens) {
  TokenizerTrainer trainer(TrainerOptions{});
  trainer.add("abab abab");
  EXPECT_EQ(Tokenizer::parse(trainer.train(), "trained").vocab_size(), 256 + 2 + 3);  // ab, abab
}

TEST(TokenizerTrainerTest, RefusesWhatCannotBe) {
  const auto make = [](TrainerOptions options) {
    return complaint([&] { TokenizerTrainer trainer(options); });
  };
  TrainerOptions small;
  small.vocab_size = 258;
  EXPECT_TRUE(holds(make(small), "at least 259"));
  TrainerOptions twice;
  twice.special_tokens = {"<a>", "<b>", "<a>"};
  EXPECT_TRUE(holds(make(twice), "\"<a>\" is given twice"));
  TrainerOptions empty;
  empty.special_tokens = {""};
  EXPECT_TRUE(holds(make(empty), "empty special token"));
}

}  // namespace
}  // namespace halo::data
