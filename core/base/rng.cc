#include "core/base/rng.h"

#include <array>
#include <cmath>
#include <numbers>

namespace halo {
namespace {

struct Philox {
  std::array<std::uint32_t, 4> counter;
  std::array<std::uint32_t, 2> key;

  void round() {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
};

/// Four words a counter. `which` sets the draws of uniform and normal apart from each other.
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t i, std::uint32_t which) {
  Philox state{{static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), which, 0},
               {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)}};
  for (int round = 0; round < 10; ++round) state.round();
  return state.counter;
}

std::uint64_t join(std::uint32_t low, std::uint32_t high) {
  return (std::uint64_t{high} << 32) | low;
}

double unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace

std::uint64_t hash64(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

CounterRng::CounterRng(std::uint64_t seed, std::string_view name) {
  const auto mixed = philox(seed, hash64(name), 2);  // so that seed and name cannot trade bits
  key_ = join(mixed[0], mixed[1]);
}

std::uint64_t CounterRng::bits(std::uint64_t i) const {
  const auto words = philox(key_, i, 0);
  return join(words[0], words[1]);
}

double CounterRng::uniform(std::uint64_t i) const { return unit(bits(i)); }

double CounterRng::normal(std::uint64_t i) const {
  const auto words = philox(key_, i, 1);
  const double radius = std::sqrt(-2.0 * std::log(1.0 - unit(join(words[0], words[1]))));
  return radius * std::cos(2.0 * std::numbers::pi * unit(join(words[2], words[3])));
}

std::uint64_t CounterRng::below(std::uint64_t n, std::uint64_t i) const {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(i)) * n) >> 64);
}

}  // namespace halo
