#include "launch/config_text.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cctype>
#include <vector>

#include "core/base/error.h"

namespace halo::launch {
namespace {

namespace pb = google::protobuf;

constexpr std::string_view kValuesField = "values";

class NoErrors final : public pb::io::ErrorCollector {
 public:
  void AddError(int, pb::io::ColumnNumber, const std::string&) override {}
  void AddWarning(int, pb::io::ColumnNumber, const std::string&) override {}
};

/// The offset of the tokenizer's column (tabs reach to the next multiple of 8) in the line that starts at `begin`.
std::size_t offset_of_column(std::string_view text, std::size_t begin, int column) {
  int at = 0;
  std::size_t i = begin;
  while (i < text.size() && at < column) {
    at += text[i] == '\t' ? 8 - at % 8 : 1;
    ++i;
  }
  return i;
}

struct Token {
  std::string text;
  std::size_t begin = 0, end = 0;  // in the source
  bool is_text = false;            // in quotes
};

std::vector<Token> tokens_of(std::string_view source) {
  std::vector<std::size_t> lines = {0};
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\n') lines.push_back(i + 1);
  }
  NoErrors ignored;  // the parser itself reports them
  pb::io::ArrayInputStream stream(source.data(), static_cast<int>(source.size()));
  pb::io::Tokenizer tokenizer(&stream, &ignored);
  tokenizer.set_comment_style(pb::io::Tokenizer::SH_COMMENT_STYLE);
  tokenizer.set_allow_multiline_strings(true);
  std::vector<Token> tokens;
  while (tokenizer.Next()) {
    const pb::io::Tokenizer::Token& token = tokenizer.current();
    if (static_cast<std::size_t>(token.line) >= lines.size()) break;
    const std::size_t begin =
        offset_of_column(source, lines[static_cast<std::size_t>(token.line)], token.column);
    if (source.substr(begin, token.text.size()) != token.text) break;  // not what it looks like
    tokens.push_back({token.text, begin, begin + token.text.size(),
                      token.type == pb::io::Tokenizer::TYPE_STRING});
  }
  return tokens;
}

/// The text while it is rewritten from its beginning to its end.
class Rewriting {
 public:
  explicit Rewriting(std::string_view source) : source_(source), tokens_(tokens_of(source)) {}

  [[nodiscard]] std::string run() {
    for (std::size_t i = 0; i + 2 < tokens_.size(); ++i) {
      if (tokens_[i + 1].text != ":" || tokens_[i].is_text) continue;
      if (tokens_[i].text == kAutoField && tokens_[i + 2].text == "AUTO")
        replace(tokens_[i + 2].begin, tokens_[i + 2].end, "-1  ");
      if (tokens_[i].text == kValuesField) quote_values(i + 2);
    }
    return text_ + std::string(source_.substr(copied_));
  }

 private:
  void replace(std::size_t begin, std::size_t end, const std::string& by) {
    text_ += std::string(source_.substr(copied_, begin - copied_)) + by;
    copied_ = end;
  }
  /// From the first token of a value, or of a list of them.
  void quote_values(std::size_t first) {
    if (tokens_[first].text != "[") {
      const std::size_t word =
          first + (tokens_[first].text == "-" ? 1 : 0);  // its sign is the number's
      if (word < tokens_.size() && is_word(tokens_[word])) quote(first, word + 1);
      return;
    }
    int depth = 1;
    std::size_t begin = first + 1;
    for (std::size_t i = begin; i < tokens_.size() && depth > 0; ++i) {
      const std::string& text = tokens_[i].text;
      if (text == "[") ++depth;
      if (text == "]") --depth;
      const bool ends = (text == "," && depth == 1) || depth == 0;
      if (!ends) continue;
      quote(begin, i);
      begin = i + 1;
    }
  }
  static bool is_word(const Token& token) {
    const auto first = static_cast<unsigned char>(token.text.front());
    return std::isalnum(first) != 0 || first == '.' || first == '_';
  }
  void quote(std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i)
      if (tokens_[i].is_text) return;
    if (begin == end) return;
    const std::size_t from = tokens_[begin].begin, to = tokens_[end - 1].end;
    replace(from, to, str('"', source_.substr(from, to - from), '"'));
  }

  std::string_view source_;
  std::vector<Token> tokens_;
  std::string text_;
  std::size_t copied_ = 0;  // of the source
};

}  // namespace

std::string to_text_format(std::string_view source) { return Rewriting(source).run(); }

}  // namespace halo::launch
