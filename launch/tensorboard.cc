#include "launch/tensorboard.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <cstring>

#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "launch/tensorboard.pb.h"

namespace halo::launch {
namespace {

/// CRCs of data that holds CRCs are weak, so the format rotates and shifts them.
std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

template <class Integer>
void append_little_endian(std::string& to, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    to.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
  }
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

/// A path that no other run of this folder has, even within one second of one process.
std::filesystem::path fresh_path(const std::filesystem::path& folder) {
  const auto seconds = static_cast<std::int64_t>(seconds_since_1970());
  for (int i = 0;; ++i) {
    const std::filesystem::path path =
        folder / str("events.out.tfevents.", seconds, '.', host_name(), '.', ::getpid(), '.', i);
    if (!std::filesystem::exists(path)) return path;
  }
}

proto::Event event_at(std::int64_t step) {
  proto::Event event;
  event.set_wall_time(seconds_since_1970());
  event.set_step(step);
  return event;
}

void add_value(proto::Event& event, std::string_view tag, double value) {
  proto::Summary::Value& scalar = *event.mutable_summary()->add_value();
  scalar.set_tag(std::string(tag));
  scalar.set_simple_value(static_cast<float>(value));
}

void write(std::ofstream& file, const proto::Event& event) {
  const std::string record = tfrecord(event.SerializeAsString());
  file.write(record.data(), static_cast<std::streamsize>(record.size()));
}

}  // namespace

std::string tfrecord(std::string_view bytes) {
  std::string record;
  append_little_endian(record, static_cast<std::uint64_t>(bytes.size()));
  append_little_endian(record, masked_crc(record));
  record += bytes;
  append_little_endian(record, masked_crc(bytes));
  return record;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder, std::int64_t next_step) {
  std::filesystem::create_directories(folder);
  const bool went_before = !std::filesystem::is_empty(folder);
  path_ = fresh_path(folder);
  file_.open(path_, std::ios::binary);
  if (!file_) throw Error(str(path_.string(), ": cannot be written: ", std::strerror(errno)));
  proto::Event version = event_at(0);
  version.clear_step();
  version.set_file_version("brain.Event:2");
  write(file_, version);
  if (next_step > 0 || went_before) {
    proto::Event purge = event_at(next_step);
    purge.mutable_session_log()->set_status(proto::SessionLog::START);
    write(file_, purge);
  }
  flush();
}

void TensorBoardWriter::add_scalar(std::string_view tag, std::int64_t step, double value) {
  proto::Event event = event_at(step);
  add_value(event, tag, value);
  write(file_, event);
}

void TensorBoardWriter::add_step(const StepMetrics& metrics) {
  proto::Event event = event_at(metrics.step);
  if (!metrics.skipped) {
    add_value(event, "train/loss", metrics.loss);
    add_value(event, "train/grad_norm", metrics.grad_norm);
  }
  add_value(event, "train/lr", metrics.lr);
  add_value(event, "speed/step_ms", metrics.step_ms);
  add_value(event, "speed/tokens_per_s", metrics.tokens_per_s);
  add_value(event, "speed/mfu", metrics.mfu);
  add_value(event, "speed/memory_gib", metrics.memory_gib);
  if (metrics.validation_loss) add_value(event, "validation/loss", *metrics.validation_loss);
  write(file_, event);
}

void TensorBoardWriter::flush() {
  file_.flush();
  if (!file_) throw Error(str(path_.string(), ": cannot be written"));
}

}  // namespace halo::launch
