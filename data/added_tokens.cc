#include "data/added_tokens.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "data/unicode.h"

namespace halo::data {

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), begins_{} {
  std::sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content.size() > b.content.size();
  });
  for (const AddedToken& token : tokens_) {
    HALO_REQUIRE(!token.content.empty(), "an added token without content");
    begins_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text, std::size_t at) const {
  for (const AddedToken& token : tokens_) {
    if (text.compare(at, token.content.size(), token.content) == 0) return &token;
  }
  return nullptr;
}

void AddedTokenMatcher::split(std::string_view text, std::vector<Segment>& segments) const {
  std::size_t done = 0;
  const auto flush_until = [&](std::size_t end) {
    if (end > done) segments.push_back({text.substr(done, end - done), kText});
  };
  for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
    const AddedToken* token =
        begins_[static_cast<unsigned char>(text[at])] ? longest_at(text, at) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->content.size();
    at = end;
    const bool touches_word =
        ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end));
    if (token->single_word && touches_word) continue;
    if (token->lstrip) begin -= trailing_space(text.substr(0, begin));
    if (token->rstrip) end += leading_space(text.substr(end));
    begin = std::max(begin, done);
    flush_until(begin);
    segments.push_back({text.substr(begin, std::max(end, begin) - begin), token->id});
    done = std::max(end, done);
  }
  flush_until(text.size());
}

}  // namespace halo::data
