#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace halo::test {

/// A Qwen3 over the 256 bytes and an end of text, with heads of 16 channels.
struct ByteTeacher {
  std::int64_t hidden_size = 32, intermediate_size = 64;
  int layers = 4, heads = 2, key_heads = 1;
};

/// Writes folder/model, a config.json and a tokenizer.json to train it from, and folder/text.h5 with 400 byte_lines.
void write_byte_teacher(const std::filesystem::path& folder, const ByteTeacher& sizes);

[[nodiscard]] std::string byte_line(int i);

}  // namespace halo::test
