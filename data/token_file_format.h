#pragma once
#include <cstddef>
#include <cstdint>

namespace halo::data {

// The names and numbers of docs/formats/token_file.md.
inline constexpr const char* kTokensName = "tokens";
inline constexpr const char* kDocumentsName = "documents";
inline constexpr std::int64_t kTokenFormatVersion = 1;
inline constexpr std::int64_t kSmallVocabulary =
    65536;                                         // the largest whose ids are written as uint16
inline constexpr std::size_t kTokenChunk = 32768;  // elements a chunk
inline constexpr std::uint64_t kMaxChunkBytes = 1u << 26;  // beyond, a file is refused

}  // namespace halo::data
