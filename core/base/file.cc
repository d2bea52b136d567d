#include "core/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"
#include "core/base/unique_handle.h"

namespace halo {
namespace {

struct DescriptorTraits {
  using Raw = int;
  static constexpr Raw kNull = -1;
  static void close(Raw fd) noexcept { ::close(fd); }
};
using Descriptor = UniqueHandle<DescriptorTraits>;

std::string system_reason() { return std::strerror(errno); }

Descriptor open_to_read(const std::filesystem::path& path, struct stat& status) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  HALO_REQUIRE_INPUT(file.get() >= 0, str(path.string(), ": ", system_reason()));
  HALO_REQUIRE_INPUT(::fstat(file.get(), &status) == 0, str(path.string(), ": ", system_reason()));
  HALO_REQUIRE_INPUT(!S_ISDIR(status.st_mode), str(path.string(), ": is a folder, not a file"));
  return file;
}

void write_all(int fd, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(str("cannot write ", path.string(), ": ", system_reason()));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  struct stat status {};
  const Descriptor file = open_to_read(path, status);
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    HALO_REQUIRE_INPUT(n >= 0, str(path.string(), ": ", system_reason()));
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  const std::filesystem::path temporary = path.string() + ".tmp" + std::to_string(::getpid());
  try {
    const Descriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0)
      throw Error(str("cannot create ", temporary.string(), ": ", system_reason()));
    write_all(file.get(), bytes, path);
    if (::fsync(file.get()) != 0)
      throw Error(str("cannot write ", path.string(), ": ", system_reason()));
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      throw Error(
          str("cannot rename ", temporary.string(), " to ", path.string(), ": ", system_reason()));
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(path.has_parent_path() ? path.parent_path() : ".");
}

bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code unknown;
  if (std::filesystem::equivalent(a, b, unknown) && !unknown) return true;
  const auto spelt = [](const std::filesystem::path& path) {
    return std::filesystem::absolute(path / "").lexically_normal();
  };
  return spelt(a) == spelt(b);
}

void require_no_input(const std::filesystem::path& output,
                      std::span<const std::filesystem::path> inputs) {
  if (output.empty()) return;
  for (const std::filesystem::path& input : inputs) {
    HALO_REQUIRE_INPUT(
        input.empty() || !is_same_file(output, input),
        str(output.string(), ": is read and would be overwritten: name another file"));
  }
}

void add_files(std::vector<std::filesystem::path>& inputs, const std::filesystem::path& folder) {
  std::error_code unknown;
  for (const auto& entry : std::filesystem::directory_iterator(folder, unknown))
    inputs.push_back(entry.path());
}

void sync_folder(const std::filesystem::path& folder) {
  const Descriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 || ::fsync(handle.get()) != 0) {
    throw Error(str("cannot sync the folder ", folder.string(), ": ", system_reason()));
  }
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  struct stat status {};
  const Descriptor file = open_to_read(path, status);
  HALO_REQUIRE_INPUT(S_ISREG(status.st_mode), str(path.string(), ": not a regular file"));
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  HALO_REQUIRE_INPUT(memory != MAP_FAILED, str(path.string(), ": ", system_reason()));
  bytes_ = {static_cast<const std::byte*>(memory), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace halo
