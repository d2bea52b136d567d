#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "launch/metrics.h"

namespace halo::launch {

/// A record of a TFRecord file: length, its masked CRC-32C, the bytes, theirs; little-endian.
/// Source: TensorFlow, lib/io/record_writer.h.
[[nodiscard]] std::string tfrecord(std::string_view bytes);

/// Writes scalars to a TensorBoard event file. Every run writes a file of its own, named by time, host and process, so
/// no file is ever touched twice.
class TensorBoardWriter {
 public:
  /// Creates the folder and the file. A run that goes on at `next_step` > 0 tells readers to forget what earlier files
  /// hold from that step on. Throws Error when the file cannot be written.
  TensorBoardWriter(const std::filesystem::path& folder, std::int64_t next_step);

  /// Tags such as "train/loss". float32, as TensorBoard stores scalars.
  void add_scalar(std::string_view tag, std::int64_t step, double value);
  /// All numbers of a step: train/{loss,grad_norm,lr}, speed/{step_ms,tokens_per_s,mfu,memory_gib}, validation/loss. Of
  /// a skipped step neither loss nor norm.
  void add_step(const StepMetrics& metrics);
  /// Hands what was added to the system. A failure is reported by the stream's state and costs no run: ok() tells.
  void flush();
  [[nodiscard]] bool ok() const { return file_.good(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace halo::launch
