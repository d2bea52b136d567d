#include "checkpoints/memory_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "core/base/error.h"

namespace halo::checkpoints {
namespace {

std::int64_t checked(std::int64_t result, std::string_view doing) {
  if (result < 0) throw Error(str("a file in memory: ", doing, ": ", std::strerror(errno)));
  return result;
}

}  // namespace

MemoryFile::MemoryFile() : file_(::memfd_create("halo", MFD_CLOEXEC)) {
  checked(file_.get(), "memfd_create");
}

std::string MemoryFile::path() const { return str("/proc/self/fd/", file_.get()); }

std::int64_t MemoryFile::copy_to(OutputFile& to) const {
  struct stat status {};
  checked(::fstat(file_.get(), &status), "fstat");
  std::vector<std::byte> buffer(1 << 16);
  const auto capacity = static_cast<std::int64_t>(buffer.size());
  for (std::int64_t end = 0; end < status.st_size;) {
    const std::int64_t begin = ::lseek(file_.get(), end, SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;  // a hole up to the end
    checked(begin, "SEEK_DATA");
    end = checked(::lseek(file_.get(), begin, SEEK_HOLE), "SEEK_HOLE");
    for (std::int64_t at = begin; at < end;) {
      const auto wanted = static_cast<std::size_t>(std::min(end - at, capacity));
      const std::int64_t n = checked(::pread(file_.get(), buffer.data(), wanted, at), "pread");
      HALO_REQUIRE(n > 0, "a file in memory ends before its size");
      to.write_at(at, std::span(buffer).first(static_cast<std::size_t>(n)));
      at += n;
    }
  }
  return status.st_size;
}

}  // namespace halo::checkpoints
