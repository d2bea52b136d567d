#include "data/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

#include "core/base/error.h"

namespace halo::data {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 30;  // ICU counts in int32

const std::uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

/// The end of the well-formed text from `begin` on.
std::int32_t well_formed_end(std::string_view text, std::int32_t begin) {
  const std::uint8_t* bytes = bytes_of(text);
  const auto size = static_cast<std::int32_t>(text.size());
  std::int32_t i = begin;
  while (i < size) {
    if (bytes[i] < 0x80) {
      ++i;
      continue;
    }
    const std::int32_t start = i;
    UChar32 c = 0;
    U8_NEXT(bytes, i, size, c);
    if (c < 0) return start;
  }
  return size;
}

const icu::Normalizer2& nfc_of_icu() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* instance = icu::Normalizer2::getNFCInstance(status);
  HALO_REQUIRE(U_SUCCESS(status), str("ICU has no NFC data: ", u_errorName(status)));
  return *instance;
}

/// NFC as of Unicode 9, whose tables the tokenizers package has: what was assigned later stays where it is.
class Nfc9 {
 public:
  Nfc9() : normalizer_(nfc_of_icu(), known_characters()) {}
  [[nodiscard]] const icu::Normalizer2& get() const { return normalizer_; }

 private:
  const icu::UnicodeSet& known_characters() {
    UErrorCode status = U_ZERO_ERROR;
    known_.applyPattern(u"[:age=9.0:]", status).freeze();
    HALO_REQUIRE(U_SUCCESS(status), str("ICU knows no ages: ", u_errorName(status)));
    return known_;
  }

  icu::UnicodeSet known_;
  icu::FilteredNormalizer2 normalizer_;
};

const icu::Normalizer2& normalizer() {
  static const Nfc9 instance;
  return instance.get();
}

bool is_word(UChar32 c) {
  constexpr std::uint32_t kMasks = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return (U_GET_GC_MASK(c) & kMasks) != 0 || u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

}  // namespace

std::string_view valid_utf8(std::string_view text, std::string& scratch) {
  HALO_REQUIRE_INPUT(text.size() <= kMaxBytes,
                     str("a text of ", text.size(), " bytes exceeds the limit of ", kMaxBytes));
  const auto size = static_cast<std::int32_t>(text.size());
  std::int32_t end = well_formed_end(text, 0);
  if (end == size) return text;
  scratch.assign(text.substr(0, static_cast<std::size_t>(end)));
  while (end < size) {
    UChar32 c = 0;
    U8_NEXT(bytes_of(text), end, size, c);  // steps over one maximal ill-formed part
    scratch += "\xEF\xBF\xBD";
    const std::int32_t begin = end;
    end = well_formed_end(text, begin);
    scratch += text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
  return scratch;
}

std::string_view nfc(std::string_view text, std::string& scratch) {
  // Below U+0300, whose first byte is 0xCC, nothing combines.
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
  if (plain) return text;
  UErrorCode status = U_ZERO_ERROR;
  const icu::StringPiece piece(text.data(), static_cast<std::int32_t>(text.size()));
  // What is normal by today's tables is by the old ones, and asking today's is much faster.
  if (nfc_of_icu().isNormalizedUTF8(piece, status) && U_SUCCESS(status)) return text;
  scratch.clear();
  icu::StringByteSink<std::string> sink(&scratch);
  normalizer().normalizeUTF8(0, piece, sink, nullptr, status);
  HALO_REQUIRE(U_SUCCESS(status), str("cannot normalize a text: ", u_errorName(status)));
  return scratch;
}

std::size_t leading_space(std::string_view text) {
  std::int32_t i = 0;
  const auto size = static_cast<std::int32_t>(text.size());
  while (i < size) {
    const std::int32_t start = i;
    UChar32 c = 0;
    U8_NEXT(bytes_of(text), i, size, c);
    if (!u_isUWhiteSpace(c)) return static_cast<std::size_t>(start);
  }
  return text.size();
}

std::size_t trailing_space(std::string_view text) {
  auto i = static_cast<std::int32_t>(text.size());
  while (i > 0) {
    const std::int32_t end = i;
    UChar32 c = 0;
    U8_PREV(bytes_of(text), 0, i, c);
    if (!u_isUWhiteSpace(c)) return text.size() - static_cast<std::size_t>(end);
  }
  return text.size();
}

bool starts_with_word(std::string_view text) {
  if (text.empty()) return false;
  std::int32_t i = 0;
  UChar32 c = 0;
  U8_NEXT(bytes_of(text), i, static_cast<std::int32_t>(text.size()), c);
  return is_word(c);
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  auto i = static_cast<std::int32_t>(text.size());
  UChar32 c = 0;
  U8_PREV(bytes_of(text), 0, i, c);
  return is_word(c);
}

}  // namespace halo::data
