#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace halo::data {

/// A long row of tokens that training reads from. Const methods may be called from several threads.
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  [[nodiscard]] virtual std::string name() const = 0;  // for messages
  [[nodiscard]] virtual std::int64_t tokens() const = 0;
  [[nodiscard]] virtual std::int64_t vocab_size() const = 0;
  /// Tokens [begin, begin + to.size()), each in [0, vocab_size). Throws InputError naming source, position and id for
  /// one outside the vocabulary, Error for a range that is not there.
  virtual void read(std::int64_t begin, std::span<std::int32_t> to) const = 0;
  /// The positions p of documents' first tokens with begin < p < end, ascending.
  [[nodiscard]] virtual std::vector<std::int64_t> document_starts(std::int64_t begin,
                                                                  std::int64_t end) const = 0;
};

/// Tokens in memory: for tests, and for what is made on the fly.
class MemoryTokens final : public TokenSource {
 public:
  /// `documents`: offsets of document starts, ascending.
  MemoryTokens(std::vector<std::int32_t> tokens, std::vector<std::int64_t> documents,
               std::int64_t vocab_size)
      : tokens_(std::move(tokens)), documents_(std::move(documents)), vocab_size_(vocab_size) {}
  [[nodiscard]] std::string name() const override { return "tokens in memory"; }
  [[nodiscard]] std::int64_t tokens() const override { return std::ssize(tokens_); }
  [[nodiscard]] std::int64_t vocab_size() const override { return vocab_size_; }
  void read(std::int64_t begin, std::span<std::int32_t> to) const override;
  [[nodiscard]] std::vector<std::int64_t> document_starts(std::int64_t begin,
                                                          std::int64_t end) const override;

 private:
  std::vector<std::int32_t> tokens_;
  std::vector<std::int64_t> documents_;
  std::int64_t vocab_size_;
};

}  // namespace halo::data
