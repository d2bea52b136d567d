#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace halo::data {

/// `text` itself when it is UTF-8; otherwise a copy in `scratch` where every maximal ill-formed part is one U+FFFD, as
/// Python's errors="replace" has it. At most 1 GiB, else InputError.
[[nodiscard]] std::string_view valid_utf8(std::string_view text, std::string& scratch);

/// Normalization form C of UTF-8 text: `text` itself when it has that form, otherwise a copy in `scratch`. As in the
/// tokenizers package, characters assigned after Unicode 9 are not reordered or composed.
[[nodiscard]] std::string_view nfc(std::string_view text, std::string& scratch);

/// Bytes of the white space (Unicode's White_Space) that UTF-8 text begins or ends with.
[[nodiscard]] std::size_t leading_space(std::string_view text);
[[nodiscard]] std::size_t trailing_space(std::string_view text);

/// Whether the text's first or last character belongs to a word: alphabetic, mark, digit, connector or join control.
[[nodiscard]] bool starts_with_word(std::string_view text);
[[nodiscard]] bool ends_with_word(std::string_view text);

}  // namespace halo::data
