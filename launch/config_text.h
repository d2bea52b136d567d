#pragma once
#include <string>
#include <string_view>

namespace halo::launch {

constexpr std::string_view kAutoField =
    "first_sample";  // the integer field that also takes the word AUTO

/// What a config's text is in protobuf's text format, where it says more than that can: `first_sample: AUTO` becomes the number
/// that stands for it, in place, and `values`, which are texts, get quotes where they have none: `[1e-4, FP32, [1,3]]`. Every
/// line stays where it is, and every column up to quotes before it. What cannot be read is left for the parser to complain of.
[[nodiscard]] std::string to_text_format(std::string_view source);

}  // namespace halo::launch
