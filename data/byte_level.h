#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace halo::data {

/// The alphabet in which byte-level BPE files spell bytes: printable Latin-1 characters stand for themselves, the other
/// 68 bytes for U+0100 and on, in order. Source: GPT-2's bytes_to_unicode.
[[nodiscard]] const std::array<std::string, 256>& byte_level_alphabet();

/// The bytes that a token's spelling stands for; nothing when it holds a character outside the alphabet.
[[nodiscard]] std::optional<std::string> byte_level_bytes(std::string_view spelling);

}  // namespace halo::data
