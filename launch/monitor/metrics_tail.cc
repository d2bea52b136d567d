#include "launch/monitor/metrics_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "core/base/clock.h"
#include "core/base/error.h"

namespace halo::launch {
namespace {

constexpr std::size_t kPiece = 1 << 20;  // bytes read at once; no line is as long
constexpr std::size_t kMemory = 4096;    // bytes before the offset that are compared: some lines

/// Up to `size` bytes from `offset` on; fewer at the end of the file, none after an error.
std::string read_at(int file, std::uint64_t offset, std::size_t size) {
  std::string text(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got =
        ::pread(file, text.data() + have, size - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (file_ >= 0) ::close(file_);
  }
  [[nodiscard]] int get() const { return file_; }

 private:
  int file_;
};

}  // namespace

void MetricsTail::begin_anew() {
  offset_ = 0;
  before_.clear();
  broken_ = false;
  progress_ = {};
  curve_ = Decimated<CurvePoint>(kMostPoints);
  validation_ = Decimated<ValidationPoint>(kMostPoints);
}

bool MetricsTail::is_the_same(int file, std::uint64_t size, std::uint64_t inode) const {
  return inode == inode_ && size >= offset_ &&
         read_at(file, offset_ - before_.size(), before_.size()) == before_;
}

bool MetricsTail::follow(std::size_t most_bytes) {
  const OpenFile file(path_);
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    begin_anew();
    return true;
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (!is_the_same(file.get(), size, status.st_ino)) begin_anew();
  inode_ = status.st_ino;
  for (std::size_t done = 0; !broken_ && offset_ < size; done += kPiece) {
    if (done >= most_bytes) return false;
    const std::string text = read_at(file.get(), offset_, kPiece);
    const std::size_t taken = take_lines(text);
    if (taken == 0) {
      broken_ = broken_ || text.size() == kPiece;  // else the last line is not whole yet
      return true;
    }
    before_ += text.substr(taken - std::min(taken, kMemory), std::min(taken, kMemory));
    before_.erase(0, before_.size() - std::min(before_.size(), kMemory));
    offset_ += taken;
    grown_ = steady_seconds();
  }
  return true;
}

std::size_t MetricsTail::take_lines(std::string_view text) {
  const std::size_t end = text.rfind('\n');
  if (end == std::string_view::npos) return 0;
  for (std::size_t begin = 0; begin <= end;) {
    const std::size_t line_end = text.find('\n', begin);
    try {
      take(text.substr(begin, line_end - begin), line_end == end);
    } catch (const InputError&) {
      broken_ = true;
      return 0;
    }
    begin = line_end + 1;
  }
  return end + 1;
}

/// Reading a line costs much more than finding its end: only lines of the curves are read, and the newest.
void MetricsTail::take(std::string_view line, bool newest) {
  const bool validated = line.find("\"validation_loss\"") != std::string_view::npos;
  if (!newest && !validated && !curve_.keeps_next()) return curve_.skip();
  const StepMetrics m = parse_json_line(line, path_.string());
  progress_.add(m);
  const double took = is_left_out(m) ? std::numeric_limits<double>::quiet_NaN() : 1;
  curve_.add(
      {m.step, m.loss, m.grad_norm, m.lr, took * m.step_ms, took * m.tokens_per_s, took * m.mfu});
  if (validated && m.validation_loss) validation_.add({m.step, *m.validation_loss});
}

}  // namespace halo::launch
