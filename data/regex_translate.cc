#include <array>
#include <cctype>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "data/regex.h"

namespace halo::data {
namespace {

// Oniguruma's \s is Unicode's White_Space and its \w holds marks and connectors; PCRE2's differ from both.
constexpr std::string_view kSpace = R"(\p{Z}\x{85}\t-\r)";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& place)
      : pattern_(pattern), place_(place) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else if (c == '(') {
        group();
      } else if (c == '[') {
        open_class();
      } else {
        quantifier(c);

        copy(1);
      }
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw InputError(
        str(place_, ": byte ", at_, ": ", what, " in a split pattern is not supported"));
  }
  [[nodiscard]] bool ahead(std::string_view text) const {
    return pattern_.substr(at_, text.size()) == text;
  }
  void copy(std::size_t n) {
    out_ += pattern_.substr(at_, n);
    at_ += n;
  }

  void open_class() {
    in_class_ = true;
    copy(ahead("[^") ? 2 : 1);
    if (ahead("]")) refuse("a class that begins with ]");
  }

  void class_character(char c) {
    if (c == '[') refuse("a class inside a class");
    if (ahead("&&")) refuse("&& inside a class");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void group() {
    constexpr std::array<std::string_view, 6> kKnown{"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    if (ahead("(?i:")) {
      copy(4);
      literal_alternatives();
      return;
    }
    for (const std::string_view opening : kKnown) {
      if (ahead(opening)) return copy(opening.size());
    }
    if (ahead("(?") || ahead("(*")) refuse("this kind of group");
    copy(1);
  }

  /// Inside (?i: ) only plain ASCII words are read alike by both engines. Oniguruma also folds pairs of letters into
  /// one ligature.
  void literal_alternatives() {
    const std::size_t end = pattern_.find(')', at_);
    if (end == std::string_view::npos) refuse("an unclosed group");
    std::string folded;
    for (const char c : pattern_.substr(at_, end - at_)) {
      const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '\'' || c == '|';
      if (!plain) refuse("anything but plain words in (?i: )");
      folded += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    for (const char* pair : {"ss", "st", "ff", "fi", "fl"}) {
      if (folded.find(pair) != std::string::npos) refuse("a pair of letters that has a ligature");
    }
    copy(end - at_);
  }

  void quantifier(char c) {
    if (ahead("{,")) refuse("{,n}");
    if (c == '}' && at_ + 1 < pattern_.size() &&
        (pattern_[at_ + 1] == '?' || pattern_[at_ + 1] == '+')) {
      refuse("a lazy or possessive {n}");
    }
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) refuse("a backslash at the end");
    const char c = pattern_[at_ + 1];
    switch (c) {
      case 's':
        return set(kSpace, false);
      case 'w':
        return set(kWord, false);
      case 'S':
        return set(kSpace, true);
      case 'W':
        return set(kWord, true);
      case 'p':
      case 'P':
        return property();
      case 'u':
        return code_point();
      default:
        break;
    }
    constexpr std::string_view kSame = "dDrntf";
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
    const bool anchor = !in_class_ && (c == 'A' || c == 'z');
    if (static_cast<unsigned char>(c) >= 0x80 ||
        (letter && kSame.find(c) == std::string_view::npos && !anchor && !ahead("\\x{"))) {
      refuse(str('\\', c));
    }
    copy(2);
  }

  void set(std::string_view members, bool negated) {
    if (in_class_ && negated) refuse("a negated set inside a class");
    at_ += 2;
    out_ += in_class_ ? std::string(members) : str(negated ? "[^" : "[", members, ']');
  }

  /// Categories are spelled alike; scripts are the plain Script property, which PCRE2 writes with "sc:".
  void property() {
    const std::size_t end = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || end == std::string_view::npos) {
      refuse("a property without braces");
    }
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    const bool caret = !name.empty() && name[0] == '^';
    if (caret) name.remove_prefix(1);
    for (const char c : name) {
      if (std::isalpha(static_cast<unsigned char>(c)) == 0 && c != '_') refuse("this property");
    }
    out_ += str('\\', pattern_[at_ + 1], '{', caret ? "^" : "", name.size() <= 2 ? "" : "sc:", name,
                '}');
    at_ = end + 1;
  }

  void code_point() {
    const std::string_view digits = pattern_.substr(at_ + 2, 4);
    for (const char c : digits) {
      if (std::isxdigit(static_cast<unsigned char>(c)) == 0) refuse("\\u without four digits");
    }
    if (digits.size() != 4) refuse("\\u without four digits");
    out_ += str("\\x{", digits, '}');
    at_ += 6;
  }

  std::string_view pattern_;
  const std::string& place_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& place) {
  return Translator(pattern, place).run();
}

}  // namespace halo::data
