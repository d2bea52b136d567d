#include "data/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/data/complaint.h"

namespace halo::data {
namespace {

using Behavior = SplitStep::Behavior;
using Pieces = std::vector<std::string>;

Pieces split(const PreTokenizerSpec& spec, const std::string& text) {
  const PreTokenizer pre_tokenizer(spec, "test");
  PreTokenizer::Scratch scratch;
  std::vector<std::string_view> pieces;
  pre_tokenizer.split(text, scratch, pieces);
  return {pieces.begin(), pieces.end()};
}

PreTokenizerSpec one_split(const std::string& pattern, Behavior behavior, bool invert = false,
                           bool literal = false) {
  PreTokenizerSpec spec;
  spec.splits.push_back({pattern, literal, behavior, invert});
  return spec;
}

TEST(PreTokenizerTest, Behaviors) {
  const std::string text = "the-final--countdown";  // the example of the tokenizers package
  EXPECT_EQ(split(one_split("-", Behavior::kRemoved), text), (Pieces{"the", "final", "countdown"}));
  EXPECT_EQ(split(one_split("-", Behavior::kIsolated), text),
            (Pieces{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(one_split("-", Behavior::kMergedWithPrevious), text),
            (Pieces{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(one_split("-", Behavior::kMergedWithNext), text),
            (Pieces{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(one_split("-", Behavior::kContiguous), text),
            (Pieces{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split(one_split("-", Behavior::kRemoved, true), text), (Pieces{"-", "-", "-"}));
  EXPECT_EQ(split(one_split("l-", Behavior::kIsolated, false, true), text),
            (Pieces{"the-fina", "l-", "-countdown"}));
  EXPECT_EQ(split(one_split("-", Behavior::kIsolated), ""), Pieces{});
}

TEST(PreTokenizerTest, StepsFollowEachOther) {
  PreTokenizerSpec spec = one_split(",", Behavior::kRemoved);
  spec.splits.push_back({R"(\d)", false, Behavior::kIsolated, false});
  spec.add_prefix_space = true;
  EXPECT_EQ(split(spec, "ab1, c"), (Pieces{" ab", " 1", " c"}));
  spec.use_regex = true;
  EXPECT_EQ(split(spec, "I'm,x y"), (Pieces{" I", "'m", " x", " y"}));
}

TEST(PreTokenizerTest, Qwen3) {
  const auto spec = one_split(std::string(kQwen3Split), Behavior::kIsolated);
  EXPECT_EQ(split(spec, "I'M  you 12\r\n\n (x"),
            (Pieces{"I", "'M", " ", " you", " ", "1", "2", "\r\n\n", " (", "x"}));
}

TEST(RegexTest, ReadsSpaceAndWordsAsOniguruma) {
  const auto matches = [](const std::string& pattern, const std::string& text) {
    RegexScratch scratch;
    const auto match = Regex(pattern, "test").find(text, 0, scratch);
    return match && match->first == 0 && match->second == text.size();
  };
  EXPECT_FALSE(matches(R"(\s)", "\xE1\xA0\x8E"));  // U+180E: PCRE2's \s takes it
  EXPECT_TRUE(matches(R"([\s]+)", "\x0B\xC2\x85\xE3\x80\x80"));
  EXPECT_TRUE(matches(R"(\w+)", "e\xCC\x81_9"));
  EXPECT_TRUE(matches(R"([\w]+)", "\xE2\x80\xBF"));  // a connector that PCRE2's \w leaves out
  EXPECT_TRUE(matches(R"(\p{Han}+)", "\xE4\xB8\xAD"));
  EXPECT_TRUE(matches(R"(\u4e2d)", "\xE4\xB8\xAD"));
  EXPECT_TRUE(matches(R"((?i:'s))", "'\xC5\xBF"));  // the long s
  EXPECT_FALSE(matches(".", "\n"));
}

TEST(RegexTest, RefusesWhatItCannotReadAlike) {
  for (const char* pattern : {"",        "a*",       "(",       "[a[b]]",
                              "[a&&b]",  R"(\h)",    R"([\S])", "(?i)a",
                              "(?i:ss)", "(?i:[a])", "(*UTF)a", "(?s:.)",
                              "a{,3}",   "a{2}+",    R"(\pL)",  R"(\p{Nonsense})",
                              R"(\bx)",  R"(\)",     "[]a]",    R"(\x41)",
                              R"(\u12)", "(?R)",     R"((a)\1)"}) {
    const std::string reason =
        complaint([&] { (void)split(one_split(pattern, Behavior::kIsolated), "a"); });
    EXPECT_EQ(reason.rfind("test: ", 0), 0u) << pattern << ": " << reason;
  }
}

TEST(RegexTest, HostilePatternsEndWithAReason) {
  const std::string text = std::string(40, 'a') + "cb";
  EXPECT_TRUE(
      holds(complaint([&] { (void)split(one_split("(a|aa|a?a)+b", Behavior::kIsolated), text); }),
            "fails on a text of 42 bytes"));
}

TEST(RegexTest, LongRunsMatch) {  // a stack for backtracking as deep as the text is long
  const std::string spaces(3'000'000, ' ');
  const auto pieces = split(one_split(std::string(kQwen3Split), Behavior::kIsolated), spaces + "x");
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[1], " x");
}

}  // namespace
}  // namespace halo::data
