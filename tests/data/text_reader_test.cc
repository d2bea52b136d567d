#include "data/text_reader.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "core/base/file.h"
#include "tests/data/complaint.h"
#include "tests/temporary_folder.h"

namespace halo::data {
namespace {

using Documents = std::vector<std::string>;

Documents read_all(TextReader reader) {
  Documents documents;
  std::string document;
  while (reader.next(document)) documents.push_back(document);
  return documents;
}

Documents read_text(std::string_view text, TextFormat format, TextReaderOptions options = {}) {
  return read_all(TextReader(read_from(text), "x", format, options));
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  constexpr int kGzip = 16;
  HALO_REQUIRE(
      deflateInit2(&stream, 6, Z_DEFLATED, kGzip + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK,
      "zlib");
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  HALO_REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string zstd(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

/// Incompressible enough to take several buffers.
std::string long_lines(int lines) {
  std::string text;
  unsigned state = 1;
  for (int i = 0; i < lines; ++i) {
    std::string line = "{\"text\": \"" + std::to_string(i) + ' ';
    for (int j = 0; j < 200; ++j)
      line += static_cast<char>('a' + (state = state * 1664525 + 1013904223) % 23);
    text += line + "\"}\n";
  }
  return text;
}

TEST(TextReaderTest, WholeTextAndParagraphs) {
  const std::string text = "\n\na\nb\n \t\n\nc\r\n\r\nd";
  EXPECT_EQ(read_text(text, TextFormat::kWholeText), Documents{text});
  EXPECT_EQ(read_text(text, TextFormat::kParagraphs), (Documents{"a\nb", "c", "d"}));
  EXPECT_EQ(read_text("", TextFormat::kWholeText), Documents{});
  EXPECT_EQ(read_text("\n\n", TextFormat::kParagraphs), Documents{});
}

TEST(TextReaderTest, JsonLines) {
  EXPECT_EQ(
      read_text("{\"text\": \"a\\nb\", \"x\": [1]}\n\n{\"text\": \"\"}\r\n{\"text\": \"\\u00e9\"}",
                TextFormat::kJsonLines),
      (Documents{"a\nb", "\xC3\xA9"}));
  TextReaderOptions options;
  options.field = "body";
  EXPECT_EQ(read_text("{\"text\": \"a\", \"body\": \"b\"}", TextFormat::kJsonLines, options),
            Documents{"b"});
}

TEST(TextReaderTest, ErrorsNameFileAndLine) {
  const auto reason = [](const char* text) {
    return complaint([&] { (void)read_text(text, TextFormat::kJsonLines); });
  };
  EXPECT_EQ(reason("{\"text\": \"a\"}\n\n{\"txt\": \"b\"}"), "x: line 3: has no \"text\"");
  EXPECT_EQ(reason("{\"text\": 5}"), "x: line 1: text: expected a string, found number 5");
  EXPECT_TRUE(holds(reason("[]"), "x: line 1: expected an object"));
  EXPECT_TRUE(holds(reason("{\"text\": \"a\"}\n{\"text\": \"b"), "x: line 2: "));
  EXPECT_TRUE(holds(reason("{\"text\": \"\xFF\"}"), "x: line 1: "));
  EXPECT_TRUE(holds(reason("{\"text\": \"\\ud800\"}"), "x: line 1: "));
}

TEST(TextReaderTest, LengthsAreBounded) {
  TextReaderOptions options;
  options.max_document_bytes = 1000;
  const std::string line = "{\"text\": \"" + std::string(2000, 'a') + "\"}";
  for (const auto format :
       {TextFormat::kJsonLines, TextFormat::kParagraphs, TextFormat::kWholeText}) {
    EXPECT_TRUE(holds(complaint([&] { (void)read_text("\n" + line, format, options); }),
                      "longer than the limit of 1000 bytes"));
  }
  EXPECT_TRUE(holds(
      complaint([&] { (void)read_text("\n" + line, TextFormat::kJsonLines, options); }), "line 2"));
  std::string paragraph;
  for (int i = 0; i < 600; ++i) paragraph += "a\n";  // no line is too long
  EXPECT_NE(complaint([&] { (void)read_text(paragraph, TextFormat::kParagraphs, options); }),
            "no complaint");
}

TEST(TextReaderTest, CompressedFilesHoldTheSame) {
  const test::TemporaryFolder folder;
  const std::string text = long_lines(5000);
  const std::string more = long_lines(10);
  const Documents expected = read_text(text + more, TextFormat::kJsonLines);
  ASSERT_EQ(expected.size(), 5010u);
  write_file_atomically(folder / "a.jsonl", text + more);
  write_file_atomically(folder / "a.jsonl.gz", gzip(text) + gzip(more));  // two members
  write_file_atomically(folder / "a.jsonl.zst", zstd(text) + zstd("") + zstd(more));
  for (const char* name : {"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"}) {
    EXPECT_EQ(read_all(TextReader(folder / name)), expected) << name;
  }
  write_file_atomically(folder / "a.txt.gz", gzip("a\n\nb"));
  EXPECT_EQ(read_all(TextReader(folder / "a.txt.gz")), Documents{"a\n\nb"});
}

TEST(TextReaderTest, UnpackingStopsAtAnyBufferSize) {
  const std::string text = long_lines(40);
  for (const std::size_t size : {1u, 7u, 4096u}) {
    for (const bool use_zstd : {false, true}) {
      const std::string packed = use_zstd ? zstd(text) : gzip(text);
      const auto source =
          use_zstd ? unzstd(read_from(packed), "x") : gunzip(read_from(packed), "x");
      std::string unpacked;
      std::vector<char> buffer(size);
      while (const std::size_t n = source->read(buffer)) unpacked.append(buffer.data(), n);
      EXPECT_EQ(unpacked, text) << size << use_zstd;
    }
  }
}

TEST(TextReaderTest, DamagedCompressionIsRefused) {
  const std::string text = long_lines(20);
  const auto unpack = [](const std::string& packed, bool use_zstd) {
    return complaint([&] {
      (void)read_all(
          TextReader(use_zstd ? unzstd(read_from(packed), "f") : gunzip(read_from(packed), "f"),
                     "f", TextFormat::kWholeText));
    });
  };
  for (const bool use_zstd : {false, true}) {
    const std::string packed = use_zstd ? zstd(text) : gzip(text);
    for (std::size_t n = 0; n < packed.size(); n += 1 + packed.size() / 50) {
      EXPECT_TRUE(holds(unpack(packed.substr(0, n), use_zstd), "ends too early")) << n << use_zstd;
    }
    EXPECT_TRUE(
        holds(unpack("plain text, not packed", use_zstd), use_zstd ? "not zstd" : "not gzip"));
    EXPECT_NE(unpack(packed + "garbage after the end", use_zstd), "no complaint");
  }
  std::string damaged = gzip(text);
  damaged[damaged.size() - 6] ^= 1;  // the checksum
  EXPECT_TRUE(holds(unpack(damaged, false), "not gzip"));
}

TEST(TextReaderTest, NamesThatAreNoText) {
  EXPECT_TRUE(holds(complaint([] { TextReader reader("/nowhere/a.txt"); }),
                    "/nowhere/a.txt: No such file"));
  const test::TemporaryFolder folder;
  write_file_atomically(folder / "a.csv", "x");
  EXPECT_TRUE(holds(complaint([&] { TextReader reader(folder / "a.csv"); }),
                    "expected a name that ends in"));
  std::filesystem::create_directory(folder / "b.txt");
  EXPECT_TRUE(holds(complaint([&] { TextReader reader(folder / "b.txt"); }), "is a folder"));
}

}  // namespace
}  // namespace halo::data
