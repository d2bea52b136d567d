#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace halo::launch {

// How a rank proves to the supervisor that it belongs to the run: the supervisor sends a random challenge, the rank answers
// with HMAC-SHA256 of it under the secret that both have from the environment. The secret itself never travels.

inline constexpr std::size_t kChallengeBytes = 32;  // of a challenge, as text
inline constexpr std::size_t kProofBytes = 64;

/// `digits` hexadecimal digits, four random bits each, from the system.
[[nodiscard]] std::string random_hex(std::size_t digits);
/// 64 hexadecimal digits. Source: RFC 2104.
[[nodiscard]] std::string hmac_sha256(std::string_view secret, std::string_view message);
/// Takes equally long wherever texts of one length differ.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace halo::launch
