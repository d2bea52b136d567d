#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halo {

/// A whole file as text or bytes. Throws InputError naming the path and the system's reason.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

/// Writes a file so that at any moment, a crash included, `path` is either what it was or the whole new text: a
/// temporary beside it, fsync, rename, fsync of the folder. Throws Error with the system's reason (a full disk).
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Whether two paths name one file or folder, however they are spelt; of what does not exist yet, by spelling alone.
[[nodiscard]] bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b);
/// Throws InputError when `output` is one of `inputs`, which writing it would destroy. Empty paths are none.
void require_no_input(const std::filesystem::path& output,
                      std::span<const std::filesystem::path> inputs);

/// Adds the files of a folder to `inputs`; nothing when there is no such folder.
void add_files(std::vector<std::filesystem::path>& inputs, const std::filesystem::path& folder);

/// Makes what a folder lists durable (after creating or renaming in it).
void sync_folder(const std::filesystem::path& folder);

/// A read-only memory map of a file, so that weights larger than memory can be read slice by slice.
class MappedFile {
 public:
  /// Throws InputError when the path is no readable regular file. An empty file maps to no bytes.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace halo
