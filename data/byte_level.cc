#include "data/byte_level.h"

#include <cstdint>

namespace halo::data {
namespace {

constexpr std::size_t kCharacters = 256 + 68;

bool stands_for_itself(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

std::array<std::uint16_t, 256> code_points() {
  std::array<std::uint16_t, 256> table{};
  unsigned next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[byte] = static_cast<std::uint16_t>(stands_for_itself(byte) ? byte : next++);
  }
  return table;
}

std::array<std::int16_t, kCharacters> bytes_by_code_point() {
  std::array<std::int16_t, kCharacters> table{};
  table.fill(-1);
  const auto points = code_points();
  for (std::size_t byte = 0; byte < 256; ++byte) {
    table[points[byte]] = static_cast<std::int16_t>(byte);
  }
  return table;
}

std::array<std::string, 256> spellings() {
  std::array<std::string, 256> table;
  const auto points = code_points();
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const unsigned c = points[byte];
    if (c < 0x80) {
      table[byte] = {static_cast<char>(c)};
    } else {
      table[byte] = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  return table;
}

}  // namespace

const std::array<std::string, 256>& byte_level_alphabet() {
  static const auto table = spellings();
  return table;
}

std::optional<std::string> byte_level_bytes(std::string_view spelling) {
  static const auto table = bytes_by_code_point();
  std::string bytes;
  for (std::size_t i = 0; i < spelling.size(); ++i) {
    unsigned c = static_cast<unsigned char>(spelling[i]);
    if (c >= 0x80) {  // every character of the alphabet has one or two bytes in UTF-8
      if (c < 0xC2 || c > 0xDF || i + 1 == spelling.size()) return std::nullopt;
      c = ((c & 0x1F) << 6) | (static_cast<unsigned char>(spelling[++i]) & 0x3F);
    }
    if (c >= table.size() || table[c] < 0) return std::nullopt;
    bytes += static_cast<char>(table[c]);
  }
  return bytes;
}

}  // namespace halo::data
