#include "checkpoints/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::checkpoints {
namespace {

[[noreturn]] void fail_writing(const std::filesystem::path& path, int code) {
  throw Error(str("cannot write ", path.string(), ": ", std::strerror(code)));
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)),
      file_(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_CREAT | O_TRUNC, 0644)) {
  if (!file_) fail_writing(path_, errno);
}

void OutputFile::reserve(std::int64_t bytes) {
  truncate(bytes);
  if (bytes == 0 || ::fallocate(file_.get(), 0, 0, bytes) == 0) return;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) fail_writing(path_, errno);
}

void OutputFile::truncate(std::int64_t bytes) {
  if (::ftruncate(file_.get(), bytes) != 0) fail_writing(path_, errno);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  write_at(end_, bytes);
  end_ += static_cast<std::int64_t>(bytes.size());
}

void OutputFile::write_at(std::int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file_.get(), bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_writing(path_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
}

void OutputFile::sync() {
  if (::fsync(file_.get()) != 0) fail_writing(path_, errno);
}

AtomicOutputFile::AtomicOutputFile(const std::filesystem::path& path)
    : path_(path), file_(str(path.string(), ".tmp", ::getpid())) {}

AtomicOutputFile::~AtomicOutputFile() {
  if (committed_) return;
  std::error_code
      ignored;  // nothing is lost but space, and the failure that led here is on its way
  std::filesystem::remove(file_.path(), ignored);
}

void AtomicOutputFile::commit() {
  file_.sync();
  if (::rename(file_.path().c_str(), path_.c_str()) != 0) fail_writing(path_, errno);
  committed_ = true;
  sync_folder(path_.has_parent_path() ? path_.parent_path() : ".");
}

}  // namespace halo::checkpoints
