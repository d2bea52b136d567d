#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halo::data {

/// A token that is found in the text before anything else looks at it, such as <|im_end|>.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // looked for in the normalized text
  bool special = false;      // left out by decode(skip_special)
};

/// Finds added tokens: from left to right, at each place the longest, never overlapping.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() : begins_{} {}
  /// No content may be empty.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  struct Segment {
    std::string_view text;
    std::int32_t id = kText;
  };
  static constexpr std::int32_t kText = -1;

  /// Cuts `text` (UTF-8) into plain text and tokens, appended to `segments`; a token's text is what it took.
  void split(std::string_view text, std::vector<Segment>& segments) const;

 private:
  [[nodiscard]] const AddedToken* longest_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;  // by content, longest first
  std::array<bool, 256> begins_;    // the first bytes
};

}  // namespace halo::data
