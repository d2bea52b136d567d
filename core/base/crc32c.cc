#include "core/base/crc32c.h"

#include <array>
#include <cstring>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace halo {
namespace {

#ifndef __SSE4_2__
constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kTable = make_table();
#endif

std::uint32_t add_byte(std::uint32_t state, std::byte value) {
#ifdef __SSE4_2__
  return _mm_crc32_u8(state, static_cast<unsigned char>(value));
#else
  return (state >> 8) ^ kTable[(state ^ static_cast<std::uint32_t>(value)) & 0xffu];
#endif
}

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
  std::uint32_t state = ~crc;
#ifdef __SSE4_2__
  std::uint64_t wide = state;
  while (bytes.size() >= sizeof wide) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    wide = _mm_crc32_u64(wide, word);
    bytes = bytes.subspan(sizeof word);
  }
  state = static_cast<std::uint32_t>(wide);
#endif
  for (const std::byte value : bytes) state = add_byte(state, value);
  return ~state;
}

}  // namespace halo
