#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/base/sha256.h"
#include "data/unicode.h"
#include "tests/data/complaint.h"
#include "tests/data/tiny_tokenizer.h"

namespace halo::data {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int32_t>;

Tokenizer make(const json& document) { return Tokenizer::parse(document.dump(), "t.json"); }

std::vector<std::string> tokens_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> out;
  for (const std::int32_t id : tokenizer.encode(text)) out.push_back(tokenizer.bytes_of(id));
  return out;
}

const std::string kSpace = "\xC4\xA0";  // as the byte-level alphabet spells it

json words_tokenizer() {
  return tiny_tokenizer({{kSpace, "a"}, {kSpace + "a", "b"}, {"a", "b"}, {"ab", "c"}});
}

/// Any bytes, valid and not, with many of the characters that tokenizers treat in their own ways.
std::string random_bytes(const CounterRng& rng, std::uint64_t i) {
  static const std::vector<std::string> kParts{"a",
                                               "b",
                                               "ab",
                                               "abc",
                                               " ",
                                               "  ",
                                               "\n",
                                               "\r\n",
                                               "'s",
                                               "1",
                                               "<|end|>",
                                               "<|e",
                                               "\xC3\xA9",
                                               "e\xCC\x81",
                                               "\xCC\xA3",
                                               "\xE4\xB8\xAD",
                                               "\xF0\x9F\x98\x80",
                                               "\xFF",
                                               "\xE2\x82",
                                               "\xED\xA0\x80",
                                               "\x80",
                                               std::string(1, '\0'),
                                               "\xE3\x80\x80",
                                               "\xC2\x85",
                                               "\xE1\xA0\x8E"};
  std::string text;
  const std::uint64_t parts = rng.below(20, 100 * i);
  for (std::uint64_t j = 0; j < parts; ++j)
    text += kParts[rng.below(kParts.size(), 100 * i + j + 1)];
  return text;
}

std::string normalized(std::string_view bytes) {
  std::string a;
  std::string b;
  return std::string(nfc(valid_utf8(bytes, a), b));
}

void expect_round_trips(const Tokenizer& tokenizer, int texts) {
  const CounterRng rng(3, "texts");
  for (int i = 0; i < texts; ++i) {
    const std::string text = random_bytes(rng, static_cast<std::uint64_t>(i));
    // Added tokens cut the text before it is normalized, so a mark after one does not join what came before.
    if (holds(text, "<|end|>")) continue;
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), normalized(text)) << i;
  }
}

TEST(TokenizerTest, MergesWithinThePiecesOfTheSplit) {
  const Tokenizer tokenizer = make(words_tokenizer());
  EXPECT_EQ(tokens_of(tokenizer, "abc abab<|end|>ab"),
            (std::vector<std::string>{"abc", " ab", "ab", "<|end|>", "ab"}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.vocab_size(), 261);
  EXPECT_EQ(tokenizer.id_of("<|end|>"), 260);
  EXPECT_EQ(tokenizer.id_of(kSpace + "ab"), 257);
  EXPECT_EQ(tokenizer.id_of("abcd"), std::nullopt);
  EXPECT_EQ(tokenizer.sha256(), sha256_hex(words_tokenizer().dump()));
}

TEST(TokenizerTest, DecodingLeavesSpecialTokensOutWhenAsked) {
  const Tokenizer tokenizer = make(words_tokenizer());
  const Ids ids = tokenizer.encode("ab<|end|>c");
  EXPECT_EQ(tokenizer.decode(ids), "ab<|end|>c");
  EXPECT_EQ(tokenizer.decode(ids, true), "abc");
  EXPECT_THROW((void)tokenizer.decode(Ids{261}), Error);
  EXPECT_THROW((void)tokenizer.decode(Ids{-1}), Error);
  EXPECT_EQ(tokenizer.decode(Ids{0xC3}), "\xEF\xBF\xBD");  // half a character
}

TEST(TokenizerTest, DecodingGivesTheNormalizedTextBack) {
  expect_round_trips(make(words_tokenizer()), 3000);
}

TEST(TokenizerTest, WithoutNormalizerTheTextComesBackAsItIs) {
  json document = words_tokenizer();
  document["normalizer"] = nullptr;
  EXPECT_EQ(make(document).decode(make(document).encode("e\xCC\x81")), "e\xCC\x81");
}

json with_added(const json& settings) {
  json document = words_tokenizer();
  json token{{"id", 261},       {"content", "cab"},    {"single_word", false}, {"lstrip", false},
             {"rstrip", false}, {"normalized", false}, {"special", false}};
  token.update(settings);
  document["added_tokens"].push_back(token);
  return document;
}

TEST(TokenizerTest, AddedTokens) {
  using Tokens = std::vector<std::string>;
  EXPECT_EQ(tokens_of(make(with_added(json::object())), "acab cab"),
            (Tokens{"a", "cab", " ", "cab"}));
  EXPECT_EQ(tokens_of(make(with_added({{"single_word", true}})), "acab cab"),
            (Tokens{"a", "c", "ab", " ", "cab"}));
  EXPECT_EQ(tokens_of(make(with_added({{"lstrip", true}})), "a \n cab b"),
            (Tokens{"a", "cab", " ", "b"}));
  EXPECT_EQ(tokens_of(make(with_added({{"rstrip", true}})), "cab \n b"), (Tokens{"cab", "b"}));
  const json accent{{"content", "\xC3\xA9z"}, {"normalized", true}};
  EXPECT_EQ(make(with_added(accent)).encode("e\xCC\x81z"), Ids{261});
  EXPECT_EQ(make(with_added({{"content", "\xC3\xA9z"}})).encode("e\xCC\x81z").size(), 3u);
  // The longest of those that begin at the same place.
  EXPECT_EQ(make(with_added({{"content", "<|end|>>"}})).encode("<|end|>>"), Ids{261});
}

TEST(TokenizerTest, RefusesMalformedFilesWithFilePlaceAndReason) {
  struct Case {
    std::function<void(json&)> spoil;
    std::string reason;
  };
  const std::vector<Case> cases{
      {[](json& d) { d["model"].erase("merges"); }, "t.json: model: has no \"merges\""},
      {[](json& d) { d["model"]["merges"][1] = "ab x"; },
       "t.json: model: merges[1]: \"abx\" is not in the vocabulary"},
      {[](json& d) {
         d["model"]["merges"][0] = {"zz", "b"};
       },
       "t.json: model: merges[0]: \"zz\" is not in the vocabulary"},
      {[](json& d) { d["model"]["merges"][0] = "a b c"; }, "two tokens with a space between"},
      {[](json& d) { d["model"]["merges"][0] = json::array({"a"}); },
       "a merge has two tokens, not 1"},
      {[](json& d) { d["model"]["merges"][0] = 7; },
       "merges[0]: expected a string, found number 7"},
      {[](json& d) { d["model"]["merges"] = "a b"; }, "merges: expected an array"},
      {[](json& d) { d["model"]["vocab"]["ab"] = 5; }, "too"},
      {[](json& d) { d["model"]["vocab"]["ab"] = 100000; },
       "id 100000 in a vocabulary of 260 tokens"},
      {[](json& d) { d["model"]["vocab"]["ab"] = -1; }, "-1 is not in [0"},
      {[](json& d) { d["model"]["vocab"]["ab"] = 1e300; }, "expected a whole number"},
      {[](json& d) { d["model"]["vocab"]["ab"] = 18446744073709551615u; },
       "18446744073709551615 is not in"},
      {[](json& d) { d["model"]["vocab"] = json::array(); }, "vocab: expected an object"},
      {[](json& d) { d["model"]["vocab"] = json::object(); }, "has no token"},
      {[](json& d) { d["model"]["type"] = "Unigram"; }, "model Unigram is not supported"},
      {[](json& d) { d["model"]["dropout"] = 0.1; }, "dropout: is not supported"},
      {[](json& d) { d["model"]["continuing_subword_prefix"] = "##"; }, "must be empty"},
      {[](json& d) { d["model"]["surprise"] = 1; }, "unknown \"surprise\""},
      {[](json& d) {
         d["normalizer"] = {{"type", "NFKC"}};
       },
       "normalizer NFKC is not supported"},
      {[](json& d) { d["pre_tokenizer"] = nullptr; }, "pre_tokenizer"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"].erase(1); }, "no ByteLevel"},
      {[](json& d) {
         d["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", "("}};
       },
       "t.json: pre_tokenizer: not a pattern"},
      {[](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Odd"; }, "no behavior"},
      {[](json& d) {
         d["post_processor"] = {{"type", "TemplateProcessing"}};
       },
       "post-processor TemplateProcessing is not supported"},
      {[](json& d) {
         d["decoder"] = {{"type", "WordPiece"}};
       },
       "decoder WordPiece is not supported"},
      {[](json& d) {
         d["truncation"] = {{"max_length", 5}};
       },
       "truncation: is not supported"},
      {[](json& d) { d["version"] = "2.0"; }, "version: only 1.0"},
      {[](json& d) { d["added_tokens"][0]["id"] = 300; }, "has id 300, but 260 is its id"},
      {[](json& d) { d["added_tokens"][0]["content"] = ""; }, "without content"},
      {[](json& d) { d["added_tokens"].push_back(d["added_tokens"][0]); }, "added a second time"},
      {[](json& d) { d["added_tokens"][0].erase("special"); }, "has no \"special\""},
      {[](json& d) { d["added_tokens"] = 3; }, "added_tokens: expected an array"},
      {[](json& d) { d = json::array(); }, "t.json: expected an object"},
  };
  for (const Case& one : cases) {
    json document = words_tokenizer();
    one.spoil(document);
    const std::string reason = complaint([&] { (void)make(document); });
    EXPECT_TRUE(holds(reason, one.reason) && reason.rfind("t.json", 0) == 0)
        << reason << "\nwhere expected: " << one.reason;
  }
}

TEST(TokenizerTest, RefusesTruncatedFiles) {
  const std::string text = words_tokenizer().dump();
  for (std::size_t n = 0; n < text.size(); n += 97) {
    EXPECT_NE(complaint([&] { (void)Tokenizer::parse(text.substr(0, n), "t.json"); }),
              "no complaint");
  }
  EXPECT_TRUE(holds(complaint([] { Tokenizer t(std::filesystem::path("/nowhere/t.json")); }),
                    "/nowhere/t.json"));
}

TEST(TokenizerTest, Qwen3) {
  const char* extras = std::getenv("HALO_EXTRAS");
  if (extras == nullptr) {
    GTEST_SKIP() << "HALO_EXTRAS names no folder with tokenizer/qwen3-tokenizer.json";
  }
  const Tokenizer tokenizer(std::filesystem::path(extras) / "tokenizer/qwen3-tokenizer.json");
  const std::filesystem::path cases = HALO_TEST_DATA "/qwen3_cases.json";
  for (const json& one : json::parse(read_file(cases))) {
    const auto text = one.at("text").get<std::string>();
    EXPECT_EQ(tokenizer.encode(text), one.at("ids").get<Ids>()) << text;
    EXPECT_EQ(tokenizer.decode(one.at("ids").get<Ids>()), normalized(text));
  }
  expect_round_trips(tokenizer, 1000);
  EXPECT_EQ(tokenizer.vocab_size(), 151669);
  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), 151645);
}

}  // namespace
}  // namespace halo::data
