#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/unique_handle.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace halo::data {

/// What a thread needs to match: results and a stack, for any number of patterns. Used by one thread at a time.
class RegexScratch {
 public:
  RegexScratch();

 private:
  friend class Regex;
  template <class T>
  struct Traits {
    using Raw = T*;
    static constexpr Raw kNull = nullptr;
    static void close(Raw raw) noexcept;
  };
  UniqueHandle<Traits<pcre2_real_match_context_8>> context_;
  UniqueHandle<Traits<pcre2_real_jit_stack_8>> stack_;
  UniqueHandle<Traits<pcre2_real_match_data_8>> match_;
};

/// A split pattern of a tokenizer.json, matched by PCRE2 (compiled to machine code where it can). Such patterns are
/// written for Oniguruma; what PCRE2 reads otherwise is rewritten, and what cannot be is refused.
class Regex {
 public:
  /// Throws InputError "place: reason" for what is no pattern, may match the empty text, or is refused.
  Regex(std::string_view pattern, const std::string& place);

  /// The first match that begins at `offset` or later, as [begin, end). `text` is UTF-8. Throws InputError when the
  /// pattern needs too many steps.
  [[nodiscard]] std::optional<std::pair<std::size_t, std::size_t>> find(
      std::string_view text, std::size_t offset, RegexScratch& scratch) const;

 private:
  struct CodeTraits {
    using Raw = pcre2_real_code_8*;
    static constexpr Raw kNull = nullptr;
    static void close(Raw raw) noexcept;
  };
  UniqueHandle<CodeTraits> code_;
  bool compiled_ = false;  // to machine code
  std::string place_;
};

/// The pattern in PCRE2's words (with UTF, UCP, MULTILINE and LF newlines). Throws InputError "place: reason".
[[nodiscard]] std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& place);

}  // namespace halo::data
