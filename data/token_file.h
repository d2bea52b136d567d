#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/token_source.h"

namespace halo::data {

/// What a token file says of itself.
struct TokenFileInfo {
  std::int64_t vocab_size = 0;
  std::int64_t eos_token_id = -1;  // -1: none
  std::string tokenizer_sha256;    // empty: unknown
};

/// Reads a token file (docs/formats/token_file.md). Every call of libhdf5 is made under hdf5_mutex(), so const methods
/// may be called from several threads.
class TokenFile final : public TokenSource {
 public:
  /// Throws InputError with file, place and reason when the layout is not that of a token file. libhdf5 may crash on
  /// hostile files: use open_token_file for a file that nobody has checked.
  explicit TokenFile(const std::filesystem::path& path);
  ~TokenFile() override;

  [[nodiscard]] std::string name() const override;
  [[nodiscard]] const TokenFileInfo& info() const;
  [[nodiscard]] std::int64_t tokens() const override;
  [[nodiscard]] std::int64_t documents() const;
  [[nodiscard]] std::int64_t vocab_size() const override { return info().vocab_size; }
  void read(std::int64_t begin, std::span<std::int32_t> to) const override;
  /// The first call reads the whole list of documents.
  [[nodiscard]] std::vector<std::int64_t> document_starts(std::int64_t begin,
                                                          std::int64_t end) const override;
  /// Reads what can be wrong inside: the list of documents, the index of all chunks, and up to `token_limit` tokens.
  void verify(std::int64_t token_limit) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes a token file in memory for one chunk. The path appears when finish() returns: until then the file has another
/// name beside it, which the destructor removes.
class TokenFileWriter {
 public:
  /// `deflate`: 0 (none) to 9. Throws InputError for a vocabulary below 1 or beyond 2^31 - 1, Error for a path that
  /// cannot be written.
  TokenFileWriter(const std::filesystem::path& path, const TokenFileInfo& info, int deflate = 0);
  ~TokenFileWriter();

  /// One document, its end token included. Throws Error for an id outside the vocabulary and when the disk is full.
  void add_document(std::span<const std::int32_t> tokens);
  void finish();
  [[nodiscard]] std::int64_t tokens() const;  // so far
  [[nodiscard]] std::int64_t documents() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halo::data
