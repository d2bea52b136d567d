#include "core/base/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

namespace halo {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above + 1, row[j - 1] + 1, change});
      diagonal = above;
    }
  }
  return row.back();
}

std::string three_digits(double value, const char* unit) {
  std::array<char, 64> text{};
  const int decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  std::snprintf(text.data(), text.size(), "%.*f%s", decimals, value, unit);
  return text.data();
}

std::string scaled(double value, double base, std::span<const char* const> units) {
  std::size_t i = 0;
  while (std::fabs(value) >= base && i + 1 < units.size()) {
    value /= base;
    ++i;
  }
  return three_digits(value, units[i]);
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, name.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

std::string human_count(double n) {
  if (n < 1000) return std::to_string(static_cast<long long>(n));
  constexpr std::array<const char*, 6> units{"", "K", "M", "G", "T", "P"};
  return scaled(n, 1000, units);
}

std::string human_bytes(double bytes) {
  constexpr std::array<const char*, 6> units{" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
  return scaled(bytes, 1024, units);
}

std::string human_seconds(double seconds) {
  constexpr double kLongest = 1e15;  // minutes that count as whole numbers
  if (!(seconds >= 60 && seconds < kLongest)) return three_digits(seconds, " s");
  const auto minutes = static_cast<long long>(std::llround(seconds / 60));
  if (minutes < 60) {
    return std::to_string(minutes) + " min";
  }
  return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string formatted(const char* format, double value) {
  std::array<char, 400> text{};  // room for the largest double under %f
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

}  // namespace halo
