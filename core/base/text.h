#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halo {

/// The candidate with the smallest edit distance to `name`, for "did you mean"; empty when none is near.
[[nodiscard]] std::string nearest_name(std::string_view name,
                                       std::span<const std::string> candidates);

/// 1234567 as "1.23M", 1536 bytes as "1.50 KiB", 3725 seconds as "1 h 2 min": for people, not for files.
[[nodiscard]] std::string human_count(double n);
[[nodiscard]] std::string human_bytes(double bytes);
[[nodiscard]] std::string human_seconds(double seconds);

/// The parts between separators, empty ones too: "a,,b" gives "a", "", "b".
[[nodiscard]] std::vector<std::string> split(std::string_view text, char separator);

/// One number by a printf format for a double that is part of the program, such as "%.3f%%".
[[nodiscard]] std::string formatted(const char* format, double value);

}  // namespace halo
