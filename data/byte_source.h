#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace halo::data {

/// Bytes that are read once, from front to back.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills the front of `buffer` (not empty) and returns how many bytes that were; 0 at the end. Throws InputError with
  /// the file's name for what cannot be read or unpacked.
  [[nodiscard]] virtual std::size_t read(std::span<char> buffer) = 0;
};

[[nodiscard]] std::unique_ptr<ByteSource> open_file(const std::filesystem::path& path);
/// The text must outlive the source.
[[nodiscard]] std::unique_ptr<ByteSource> read_from(std::string_view text);

/// What a gzip or zstd stream of any number of members unpacks to. `name` is the file's in errors. A stream that ends
/// too early, or whose checksum is wrong, is an InputError.
[[nodiscard]] std::unique_ptr<ByteSource> gunzip(std::unique_ptr<ByteSource> packed,
                                                 std::string name);
[[nodiscard]] std::unique_ptr<ByteSource> unzstd(std::unique_ptr<ByteSource> packed,
                                                 std::string name);

}  // namespace halo::data
