#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace halo::launch {

// A beat on the wire: its length in four bytes, the most significant first, and the bytes of a Heartbeat.

inline constexpr std::size_t kLengthBytes = 4;
inline constexpr std::size_t kLongestBeat = 64 << 10;

[[nodiscard]] inline std::string framed(std::string_view bytes) {
  const auto size = static_cast<std::uint32_t>(bytes.size());
  std::string frame;
  for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(size >> shift));
  return frame.append(bytes);
}

[[nodiscard]] inline std::size_t length_of(const unsigned char (&bytes)[kLengthBytes]) {
  std::size_t length = 0;
  for (const unsigned char byte : bytes) length = length << 8 | byte;
  return length;
}

}  // namespace halo::launch
