#include "data/unicode.h"

#include <gtest/gtest.h>

#include <string>

#include "data/byte_level.h"

namespace halo::data {
namespace {

std::string repaired(std::string_view text) {
  std::string scratch;
  return std::string(valid_utf8(text, scratch));
}

std::string composed(std::string_view text) {
  std::string scratch;
  return std::string(nfc(text, scratch));
}

TEST(UnicodeTest, WellFormedTextIsNotCopied) {
  const std::string text = "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80";
  std::string scratch;
  EXPECT_EQ(valid_utf8(text, scratch).data(), text.data());
  EXPECT_EQ(nfc(text, scratch).data(), text.data());
}

TEST(UnicodeTest, EachMaximalIllFormedPartIsOneReplacement) {
  const std::string r = "\xEF\xBF\xBD";
  // Bytes, and what Python's decode("utf-8", "replace") gives for them.
  EXPECT_EQ(repaired("\xFF"), r);
  EXPECT_EQ(repaired("a\x80z"), "a" + r + "z");
  EXPECT_EQ(repaired("\xE2\x82"), r);  // the beginning of a euro sign
  EXPECT_EQ(repaired("\xE2\x82z"), r + "z");
  EXPECT_EQ(repaired("\xF0\x9F\x98"), r);
  EXPECT_EQ(repaired("\xC0\x80"), r + r);          // overlong
  EXPECT_EQ(repaired("\xED\xA0\x80"), r + r + r);  // a surrogate
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), r + r + r + r);
}

TEST(UnicodeTest, NfcComposesAndOrdersMarks) {
  EXPECT_EQ(composed("cafe\xCC\x81"), "caf\xC3\xA9");
  EXPECT_EQ(composed("\xE1\x84\x80\xE1\x85\xA1"), "\xEA\xB0\x80");          // Hangul
  EXPECT_EQ(composed("a\xCC\x81\xCC\xA3"), composed("a\xCC\xA3\xCC\x81"));  // two orders
  EXPECT_EQ(composed("\xE2\x84\xAB"), "\xC3\x85");                          // Angstrom
}

TEST(UnicodeTest, MarksAfterUnicode9StayWhereTheyAre) {
  // U+08D3 (class 220, Unicode 11) after U+0301 (class 230): today's NFC would swap them.
  const std::string text = "x\xCC\x81\xE0\xA3\x93\xC3\xA9";
  EXPECT_EQ(composed(text), text);
}

TEST(UnicodeTest, SpaceAndWords) {
  EXPECT_EQ(leading_space(" \t\xE3\x80\x80x "), 5u);
  EXPECT_EQ(trailing_space(" x\xC2\x85\n"), 3u);
  EXPECT_EQ(leading_space("\xE1\xA0\x8E"), 0u);  // U+180E is no white space
  EXPECT_TRUE(starts_with_word("\xC3\xA9-"));
  EXPECT_TRUE(ends_with_word("-_"));
  EXPECT_FALSE(starts_with_word("-a"));
  EXPECT_FALSE(ends_with_word(""));
}

TEST(ByteLevelTest, SpellsEveryByteInItsOwnWay) {
  EXPECT_EQ(byte_level_alphabet()[' '], "\xC4\xA0");
  EXPECT_EQ(byte_level_alphabet()['a'], "a");
  std::string all;
  std::string spelled;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
    spelled += byte_level_alphabet()[byte];
  }
  EXPECT_EQ(byte_level_bytes(spelled), all);
  EXPECT_EQ(byte_level_bytes("a b"), std::nullopt);
  EXPECT_EQ(byte_level_bytes("\xE4\xB8\xAD"), std::nullopt);
  EXPECT_EQ(byte_level_bytes("\xC4"), std::nullopt);
}

}  // namespace
}  // namespace halo::data
