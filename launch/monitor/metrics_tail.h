#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "launch/monitor/decimated.h"
#include "launch/monitor/run_status.h"

namespace halo::launch {

/// The curves of a job, as numbers of metrics.jsonl; times and rates of steps that were left out are NaN.
struct CurvePoint {
  std::int64_t step = 0;
  double loss = 0, grad_norm = 0, lr = 0, step_ms = 0, tokens_per_s = 0, mfu = 0;
};
struct ValidationPoint {
  std::int64_t step = 0;
  double loss = 0;
};

/// Follows a metrics.jsonl that another thread or another rank writes, in memory that does not grow with it. A file that
/// is cut or replaced (a job that began anew) is read again from its start.
class MetricsTail {
 public:
  static constexpr std::size_t kMostPoints = 1024;  // of a curve, at most

  explicit MetricsTail(std::filesystem::path path) : path_(std::move(path)) {}

  /// Reads what has come since, at most about `most_bytes`. Returns whether it has come to the end of what is there;
  /// also when there is no file, or what it holds is no metrics.
  bool follow(std::size_t most_bytes);

  [[nodiscard]] const JobProgress& progress() const { return progress_; }
  /// When a step was last found, in steady_seconds().
  [[nodiscard]] double grown() const { return grown_; }
  [[nodiscard]] const Decimated<CurvePoint>& curve() const { return curve_; }
  [[nodiscard]] const Decimated<ValidationPoint>& validation() const { return validation_; }

 private:
  void begin_anew();
  [[nodiscard]] bool is_the_same(int file, std::uint64_t size, std::uint64_t inode) const;
  /// Takes the whole lines at the front of `text`; returns how many bytes they have.
  std::size_t take_lines(std::string_view text);
  void take(std::string_view line, bool newest);

  std::filesystem::path path_;
  std::uint64_t inode_ = 0;
  std::uint64_t offset_ = 0;  // behind the last line that was taken
  std::string before_;   // the bytes before offset_: others there, and the file was written anew
  bool broken_ = false;  // holds what is no metrics: left alone until it is written anew
  double grown_ = 0;
  JobProgress progress_;
  Decimated<CurvePoint> curve_{kMostPoints};
  Decimated<ValidationPoint> validation_{kMostPoints};
};

}  // namespace halo::launch
