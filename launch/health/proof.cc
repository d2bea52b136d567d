#include "launch/health/proof.h"

#include <sys/random.h>

#include <vector>

#include "core/base/error.h"
#include "core/base/sha256.h"

namespace halo::launch {
namespace {

constexpr std::size_t kBlock = 64;  // bytes of SHA-256
constexpr std::string_view kDigits = "0123456789abcdef";

std::string bytes_of_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(kDigits.find(hex[i]) * 16 + kDigits.find(hex[i + 1])));
  }
  return bytes;
}

std::string padded_key(std::string_view secret, unsigned char pad) {
  std::string key = secret.size() > kBlock ? bytes_of_hex(sha256_hex(secret)) : std::string(secret);
  key.resize(kBlock, '\0');
  for (char& c : key) c = static_cast<char>(static_cast<unsigned char>(c) ^ pad);
  return key;
}

}  // namespace

std::string random_hex(std::size_t digits) {
  std::vector<unsigned char> bytes(digits);
  for (std::size_t done = 0; done < digits;) {
    const ssize_t n = ::getrandom(bytes.data() + done, digits - done, 0);
    HALO_REQUIRE(n > 0, "the system gives no random numbers");
    done += static_cast<std::size_t>(n);
  }
  std::string text;
  for (const unsigned char byte : bytes) text.push_back(kDigits[byte % 16]);
  return text;
}

std::string hmac_sha256(std::string_view secret, std::string_view message) {
  const std::string inner = padded_key(secret, 0x36) + std::string(message);
  return sha256_hex(padded_key(secret, 0x5c) + bytes_of_hex(sha256_hex(inner)));
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |=
        static_cast<unsigned char>(a[i]) ^ static_cast<unsigned>(static_cast<unsigned char>(b[i]));
  return difference == 0;
}

}  // namespace halo::launch
