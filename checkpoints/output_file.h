#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "core/base/unique_handle.h"

namespace halo::checkpoints {

/// A file written piece by piece. Every failure (a full disk) is an Error with the path and the system's reason.
class OutputFile {
 public:
  enum class Mode { kCreate, kExisting };

  /// kCreate makes the file or empties it; kExisting opens one that is there.
  OutputFile(std::filesystem::path path, Mode mode);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Asks the file system for this many bytes, so that a full disk shows before the work; where it cannot say, nothing.
  void reserve(std::int64_t bytes);
  void write(std::span<const std::byte> bytes);  // at the end of what was written by this call
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);
  /// Makes the content durable.
  void sync();

 private:
  struct DescriptorTraits {
    using Raw = int;
    static constexpr Raw kNull = -1;
    static void close(Raw fd) noexcept;
  };

  std::filesystem::path path_;
  UniqueHandle<DescriptorTraits> file_;
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
