#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "checkpoints/descriptor.h"

namespace halo::checkpoints {

/// A file written piece by piece. Every failure (a full disk) is an Error with the path and the system's reason.
class OutputFile {
 public:
  /// Makes the file or empties it.
  explicit OutputFile(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Makes the file this long, of zeros, with space for all of it where the file system can promise that: so a full disk
  /// or a limit of sizes shows before the work.
  void reserve(std::int64_t bytes);
  void truncate(std::int64_t bytes);
  void write(std::span<const std::byte> bytes);  // after what this call has written so far
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);
  /// Makes the content durable.
  void sync();

 private:
  std::filesystem::path path_;
  Descriptor file_;
  std::int64_t end_ = 0;
};

/// A new file under a temporary name beside `path`, which it takes at commit() once durable; destroyed without that, it
/// leaves nothing and `path` as it was.
class AtomicOutputFile {
 public:
  explicit AtomicOutputFile(const std::filesystem::path& path);
  AtomicOutputFile(const AtomicOutputFile&) = delete;
  AtomicOutputFile& operator=(const AtomicOutputFile&) = delete;
  ~AtomicOutputFile();

  [[nodiscard]] OutputFile& file() { return file_; }
  void commit();

 private:
  std::filesystem::path path_;
  OutputFile file_;
  bool committed_ = false;
};

}  // namespace halo::checkpoints
