#include "data/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/base/error.h"

namespace halo::data {
namespace {

constexpr std::size_t kFirstStack = std::size_t{32} << 10;
constexpr std::size_t kLargestStack = std::size_t{16} << 20;
constexpr std::uint32_t kMatchLimit = 100'000'000;  // steps; honest patterns need a few a character

std::string reason_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

struct CompileContextTraits {
  using Raw = pcre2_compile_context*;
  static constexpr Raw kNull = nullptr;
  static void close(Raw raw) noexcept { pcre2_compile_context_free(raw); }
};

}  // namespace

template <>
void RegexScratch::Traits<pcre2_real_match_context_8>::close(Raw raw) noexcept {
  pcre2_match_context_free(raw);
}
template <>
void RegexScratch::Traits<pcre2_real_jit_stack_8>::close(Raw raw) noexcept {
  pcre2_jit_stack_free(raw);
}
template <>
void RegexScratch::Traits<pcre2_real_match_data_8>::close(Raw raw) noexcept {
  pcre2_match_data_free(raw);
}

RegexScratch::RegexScratch()
    : context_(pcre2_match_context_create(nullptr)),
      stack_(pcre2_jit_stack_create(kFirstStack, kLargestStack, nullptr)),
      match_(pcre2_match_data_create(1, nullptr)) {
  HALO_REQUIRE(context_ && stack_ && match_, "no memory for the split pattern");
  pcre2_set_match_limit(context_.get(), kMatchLimit);
  pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
}

void Regex::CodeTraits::close(Raw raw) noexcept { pcre2_code_free(raw); }

Regex::Regex(std::string_view pattern, const std::string& place) : place_(place) {
  const std::string translated = oniguruma_to_pcre2(pattern, place);
  const UniqueHandle<CompileContextTraits> context(pcre2_compile_context_create(nullptr));
  HALO_REQUIRE(context, "no memory for the split pattern");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_ = UniqueHandle<CodeTraits>(pcre2_compile(units(translated), translated.size(),
                                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error,
                                                 &offset, context.get()));
  HALO_REQUIRE_INPUT(code_, str(place, ": not a pattern: ", reason_of(error), " (at \"",
                                translated.substr(std::min(offset, translated.size()), 20), "\")"));
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  HALO_REQUIRE_INPUT(matches_empty == 0, place + ": the pattern matches the empty text");
  compiled_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;
}

std::optional<std::pair<std::size_t, std::size_t>> Regex::find(std::string_view text,
                                                               std::size_t offset,
                                                               RegexScratch& scratch) const {
  const auto match = compiled_ ? pcre2_jit_match : pcre2_match;
  const int found = match(code_.get(), units(text), text.size(), offset, PCRE2_NO_UTF_CHECK,
                          scratch.match_.get(), scratch.context_.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  HALO_REQUIRE_INPUT(found >= 0, str(place_, ": the pattern fails on a text of ", text.size(),
                                     " bytes at byte ", offset, ": ", reason_of(found)));
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch.match_.get());
  return std::pair(ends[0], ends[1]);
}

}  // namespace halo::data
