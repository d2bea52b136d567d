#include "data/text_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "core/base/json.h"

namespace halo::data {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 18;

bool ends_with(std::string_view name, std::string_view end) {
  return name.size() >= end.size() && name.substr(name.size() - end.size()) == end;
}

bool cut_end(std::string& name, std::string_view end) {
  if (!ends_with(name, end)) return false;
  name.resize(name.size() - end.size());
  return true;
}

std::unique_ptr<ByteSource> open_unpacked(const std::filesystem::path& path) {
  auto file = open_file(path);
  if (ends_with(path.string(), ".gz")) return gunzip(std::move(file), path.string());
  if (ends_with(path.string(), ".zst")) return unzstd(std::move(file), path.string());
  return file;
}

TextFormat format_of(const std::filesystem::path& path, const TextReaderOptions& options) {
  std::string name = path.string();
  if (!cut_end(name, ".gz")) cut_end(name, ".zst");
  if (ends_with(name, ".jsonl")) return TextFormat::kJsonLines;
  HALO_REQUIRE_INPUT(ends_with(name, ".txt"),
                     str(path.string(),
                         ": expected a name that ends in .txt or .jsonl, with .gz or "
                         ".zst after it when compressed"));
  return options.split_at_blank_lines ? TextFormat::kParagraphs : TextFormat::kWholeText;
}

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

TextReader::TextReader(const std::filesystem::path& path, TextReaderOptions options)
    : TextReader(open_unpacked(path), path.string(), format_of(path, options), options) {}

TextReader::TextReader(std::unique_ptr<ByteSource> source, std::string name, TextFormat format,
                       TextReaderOptions options)
    : source_(std::move(source)),
      name_(std::move(name)),
      format_(format),
      options_(std::move(options)),
      buffer_(kBuffer, '\0') {}

TextReader::~TextReader() = default;

void TextReader::fail(std::string_view reason) const {
  throw InputError(str(name_, ": line ", line_, ": ", reason));
}

void TextReader::check_size(std::size_t bytes) const {
  if (bytes <= options_.max_document_bytes) return;
  const auto limit = str("longer than the limit of ", options_.max_document_bytes, " bytes");
  if (format_ == TextFormat::kWholeText) throw InputError(str(name_, ": ", limit));
  fail(limit);
}

/// A line with its newline; the last may have none.
bool TextReader::next_line(std::string& line) {
  line.clear();
  ++line_;
  for (;;) {
    if (begin_ == end_) {
      end_ = source_->read(std::span(buffer_.data(), buffer_.size()));
      begin_ = 0;
      if (end_ == 0) return !line.empty();
    }
    const std::string_view unread(buffer_.data() + begin_, end_ - begin_);
    const auto newline = unread.find('\n');
    const std::size_t n = newline == std::string_view::npos ? unread.size() : newline + 1;
    check_size(line.size() + n);
    line += unread.substr(0, n);
    begin_ += n;
    if (newline != std::string_view::npos) return true;
  }
}

bool TextReader::next_whole(std::string& document) {
  for (;;) {
    const std::size_t n = source_->read(std::span(buffer_.data(), buffer_.size()));
    if (n == 0) return !document.empty();
    check_size(document.size() + n);
    document.append(buffer_, 0, n);
  }
}

bool TextReader::next_paragraph(std::string& document) {
  std::string line;
  while (next_line(line)) {
    if (!blank(line)) {
      check_size(document.size() + line.size());
      document += line;
    } else if (!document.empty()) {
      break;
    }
  }
  while (!document.empty() && (document.back() == '\n' || document.back() == '\r')) {
    document.pop_back();
  }
  return !document.empty();
}

bool TextReader::next_json_line(std::string& document) {
  std::string line;
  while (next_line(line)) {
    if (blank(line)) continue;
    const std::string place = str(name_, ": line ", line_);
    nlohmann::json object = parse_json(line, place);
    (void)JsonValue(object, place).at(options_.field).string();
    document = std::move(object[options_.field].get_ref<std::string&>());
    if (!document.empty()) return true;
  }
  return false;
}

bool TextReader::next(std::string& document) {
  document.clear();
  switch (format_) {
    case TextFormat::kWholeText:
      return next_whole(document);
    case TextFormat::kParagraphs:
      return next_paragraph(document);
    case TextFormat::kJsonLines:
      return next_json_line(document);
  }
  return false;
}

}  // namespace halo::data
