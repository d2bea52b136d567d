#include "data/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/unique_handle.h"

namespace halo::data {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 16;

struct DescriptorTraits {
  using Raw = int;
  static constexpr Raw kNull = -1;
  static void close(Raw fd) noexcept { ::close(fd); }
};

class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::filesystem::path& path)
      : name_(path.string()), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    HALO_REQUIRE_INPUT(file_, str(name_, ": ", std::strerror(errno)));
    struct stat status {};
    HALO_REQUIRE_INPUT(::fstat(file_.get(), &status) == 0, str(name_, ": ", std::strerror(errno)));
    HALO_REQUIRE_INPUT(!S_ISDIR(status.st_mode), str(name_, ": is a folder, not a file"));
  }
  std::size_t read(std::span<char> buffer) override {
    for (;;) {
      const ssize_t n = ::read(file_.get(), buffer.data(), buffer.size());
      if (n >= 0) return static_cast<std::size_t>(n);
      HALO_REQUIRE_INPUT(errno == EINTR, str(name_, ": ", std::strerror(errno)));
    }
  }

 private:
  std::string name_;
  UniqueHandle<DescriptorTraits> file_;
};

class TextSource final : public ByteSource {
 public:
  explicit TextSource(std::string_view text) : rest_(text) {}
  std::size_t read(std::span<char> buffer) override {
    const std::size_t n = std::min(buffer.size(), rest_.size());
    std::copy_n(rest_.data(), n, buffer.data());
    rest_.remove_prefix(n);
    return n;
  }

 private:
  std::string_view rest_;
};

class GzipSource final : public ByteSource {
 public:
  GzipSource(std::unique_ptr<ByteSource> packed, std::string name)
      : packed_(std::move(packed)), name_(std::move(name)), input_(kBuffer) {
    constexpr int kGzipOnly = 16;
    HALO_REQUIRE(inflateInit2(&stream_, kGzipOnly + MAX_WBITS) == Z_OK, "zlib cannot start");
  }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;
  ~GzipSource() override { inflateEnd(&stream_); }

  std::size_t read(std::span<char> buffer) override {
    const std::size_t size = std::min(buffer.size(), kBuffer);
    stream_.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size && refill()) {
      const int status = inflate(&stream_, Z_NO_FLUSH);
      inside_ = status != Z_STREAM_END;
      if (status == Z_STREAM_END) {
        inflateReset(&stream_);
      } else {
        HALO_REQUIRE_INPUT(
            status == Z_OK || status == Z_BUF_ERROR,
            str(name_, ": not gzip: ", stream_.msg != nullptr ? stream_.msg : "damaged data"));
      }
    }
    return size - stream_.avail_out;
  }

 private:
  /// False at the end of the last member.
  bool refill() {
    if (stream_.avail_in > 0) return true;
    const std::size_t n = packed_->read(input_);
    HALO_REQUIRE_INPUT(n > 0 || !inside_, str(name_, ": the gzip stream ends too early"));
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(n);
    return n > 0;
  }

  std::unique_ptr<ByteSource> packed_;
  std::string name_;
  std::vector<char> input_;
  z_stream stream_{};
  bool inside_ = true;  // of a member
};

struct ZstdTraits {
  using Raw = ZSTD_DStream*;
  static constexpr Raw kNull = nullptr;
  static void close(Raw raw) noexcept { ZSTD_freeDStream(raw); }
};

class ZstdSource final : public ByteSource {
 public:
  ZstdSource(std::unique_ptr<ByteSource> packed, std::string name)
      : packed_(std::move(packed)),
        name_(std::move(name)),
        input_(kBuffer),
        stream_(ZSTD_createDStream()) {
    HALO_REQUIRE(stream_, "zstd cannot start");
  }

  std::size_t read(std::span<char> buffer) override {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    while (out.pos == 0) {
      // What is still held inside comes out before more is asked for.
      if (in_.pos == in_.size && !more_inside_ && !refill()) return 0;
      const std::size_t status = ZSTD_decompressStream(stream_.get(), &out, &in_);
      HALO_REQUIRE_INPUT(ZSTD_isError(status) == 0,
                         str(name_, ": not zstd: ", ZSTD_getErrorName(status)));
      inside_ = status != 0;
      more_inside_ = inside_ && out.pos == out.size;
    }
    return out.pos;
  }

 private:
  bool refill() {
    const std::size_t n = packed_->read(input_);
    HALO_REQUIRE_INPUT(n > 0 || !inside_, str(name_, ": the zstd stream ends too early"));
    in_ = {input_.data(), n, 0};
    return n > 0;
  }

  std::unique_ptr<ByteSource> packed_;
  std::string name_;
  std::vector<char> input_;
  UniqueHandle<ZstdTraits> stream_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool inside_ = true;        // of a frame
  bool more_inside_ = false;  // the last output was full, so there may be more
};

}  // namespace

std::unique_ptr<ByteSource> open_file(const std::filesystem::path& path) {
  return std::make_unique<FileSource>(path);
}
std::unique_ptr<ByteSource> read_from(std::string_view text) {
  return std::make_unique<TextSource>(text);
}
std::unique_ptr<ByteSource> gunzip(std::unique_ptr<ByteSource> packed, std::string name) {
  return std::make_unique<GzipSource>(std::move(packed), std::move(name));
}
std::unique_ptr<ByteSource> unzstd(std::unique_ptr<ByteSource> packed, std::string name) {
  return std::make_unique<ZstdSource>(std::move(packed), std::move(name));
}

}  // namespace halo::data
