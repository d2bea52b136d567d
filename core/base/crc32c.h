#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace halo {

/// CRC-32C (Castagnoli) of `bytes`, going on from `crc`, the checksum of what came before: so a file can be summed piece
/// by piece. Uses the processor's instruction where the build has SSE 4.2. The CRC of "123456789" is 0xe3069283.
/// It finds every change within 32 neighbouring bits; it is no protection against a forger.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace halo
