#include "launch/scheduler/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <glog/logging.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>

#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::launch {
namespace {

constexpr std::string_view kHead = "halo journal 1\n";
constexpr std::size_t kRecordHead = 8;                           // length and checksum
constexpr std::uint32_t kLongestEvent = std::uint32_t{1} << 20;  // bytes of an event

std::uint32_t checksum(std::string_view bytes) {
  return crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

std::string little_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

std::uint32_t read_little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

/// The checksum is of length and payload, so that a wrong length is found too.
std::string record_of(std::string_view payload) {
  const std::string length = little_endian(static_cast<std::uint32_t>(payload.size()));
  return length + little_endian(checksum(length + std::string(payload))) + std::string(payload);
}

/// The events of a journal's bytes up to the first that is torn or damaged; returns where that begins.
std::size_t read_records(std::string_view all, std::vector<proto::SchedulerEvent>& events) {
  std::size_t at = kHead.size();
  const auto event_at = [&](std::size_t place) -> bool {
    const std::uint32_t length = read_little_endian(all.substr(place));
    if (length > kLongestEvent || all.size() - place - kRecordHead < length) return false;
    const std::string_view payload = all.substr(place + kRecordHead, length);
    if (record_of(payload).substr(0, kRecordHead) != all.substr(place, kRecordHead)) return false;
    proto::SchedulerEvent event;
    if (!event.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return false;
    events.push_back(std::move(event));
    return true;
  };
  while (all.size() - at >= kRecordHead && event_at(at))
    at += kRecordHead + read_little_endian(all.substr(at));
  return at;
}

[[noreturn]] void fail_with_reason(const std::filesystem::path& path, const char* what) {
  throw Error(str("cannot ", what, ' ', path.string(), ": ", std::strerror(errno)));
}

}  // namespace

void Journal::DescriptorTraits::close(Raw fd) noexcept { ::close(fd); }

Journal::Journal(std::filesystem::path path) : path_(std::move(path)) {
  const bool is_new = !std::filesystem::exists(path_);
  std::string bytes;
  if (!is_new) bytes = read_file(path_);
  file_ =
      UniqueHandle<DescriptorTraits>(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file_) fail_with_reason(path_, "open");
  if (is_new ||
      kHead.substr(0, kHead.size() - 1).starts_with(bytes)) {  // a crash while it was begun
    begin();
    return;
  }
  HALO_REQUIRE_INPUT(bytes.starts_with(kHead),
                     str(path_.string(), ": is no journal of a scheduler"));
  read(bytes);
}

void Journal::begin() {
  cut(0);
  write(std::string(kHead));
  sync_folder(path_.has_parent_path() ? path_.parent_path() : ".");
}

void Journal::read(const std::string& bytes) {
  const std::string_view all = bytes;
  const std::size_t at = read_records(all, events_);
  if (at < all.size()) {
    const std::filesystem::path kept = path_.string() + ".damaged";
    write_file_atomically(kept, bytes);
    LOG(WARNING) << path_.string() << ": " << all.size() - at << " bytes behind event "
                 << events_.size()
                 << " are torn by a crash, or damaged, and are cut off; the whole "
                 << "file is kept as " << kept.string();
    cut(at);
  }
  length_ = at;
}

void Journal::cut(std::size_t length) {
  if (::ftruncate(file_.get(), static_cast<off_t>(length)) != 0 || ::fsync(file_.get()) != 0)
    fail_with_reason(path_, "cut");
  length_ = length;
}

void Journal::write(const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pwrite(file_.get(), bytes.data() + done, bytes.size() - done,
                               static_cast<off_t>(length_ + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with_reason(path_, "write");
    done += static_cast<std::size_t>(n);
  }
  if (::fsync(file_.get()) != 0) fail_with_reason(path_, "write");
  length_ += bytes.size();
}

void Journal::append(const proto::SchedulerEvent& event) {
  const std::string payload = event.SerializeAsString();
  HALO_REQUIRE(payload.size() <= kLongestEvent,
               str("an event of ", payload.size(), " bytes is longer than ", kLongestEvent));
  try {
    write(record_of(payload));
  } catch (const Error&) {
    if (::ftruncate(file_.get(), static_cast<off_t>(length_)) != 0)
      LOG(ERROR) << path_.string() << ": what was half written stays at its end";
    throw;
  }
}

std::vector<proto::SchedulerEvent> read_journal(const std::filesystem::path& path) {
  std::vector<proto::SchedulerEvent> events;
  if (!std::filesystem::exists(path)) return events;
  const std::string bytes = read_file(path);
  if (bytes.starts_with(kHead)) read_records(bytes, events);
  return events;
}

void record_event(const proto::SchedulerEvent& event, Journal& journal, JobTable& table) {
  JobTable next = table;
  next.apply(event);
  journal.append(event);
  table = std::move(next);
}

}  // namespace halo::launch
