#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "data/byte_source.h"

namespace halo::data {

enum class TextFormat : std::uint8_t {
  kWholeText,   // one document
  kParagraphs,  // documents with blank lines between
  kJsonLines,   // one JSON object a line, the document in its "text"
};

struct TextReaderOptions {
  bool split_at_blank_lines = false;                        // of .txt files
  std::string field = "text";                               // of JSON lines
  std::size_t max_document_bytes = std::size_t{256} << 20;  // of a line, for JSON lines
};

/// Reads the documents of a text file one after the other, in memory for one document.
class TextReader {
 public:
  /// Chooses by the name: .txt, .jsonl, each also with .gz or .zst after it. Throws InputError for other names and for
  /// what cannot be opened.
  explicit TextReader(const std::filesystem::path& path, TextReaderOptions options = {});
  /// Reads `source`, whose name in errors is `name`.
  TextReader(std::unique_ptr<ByteSource> source, std::string name, TextFormat format,
             TextReaderOptions options = {});
  ~TextReader();

  /// The next document; false after the last. Empty ones are passed over. Throws InputError "file: line 3: reason" for
  /// a line that is no JSON object with the text, for one beyond the limit, and for damaged compression.
  [[nodiscard]] bool next(std::string& document);

 private:
  bool next_line(std::string& line);
  bool next_whole(std::string& document);
  bool next_paragraph(std::string& document);
  bool next_json_line(std::string& document);
  void check_size(std::size_t bytes) const;
  [[noreturn]] void fail(std::string_view reason) const;

  std::unique_ptr<ByteSource> source_;
  std::string name_;
  TextFormat format_;
  TextReaderOptions options_;
  std::string buffer_;
  std::size_t begin_ = 0;  // of what is unread in buffer_
  std::size_t end_ = 0;
  std::int64_t line_ = 0;  // of the last line given out, from 1
};

}  // namespace halo::data
