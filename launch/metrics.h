#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halo::launch {

/// What is known of one training step; a line of metrics.jsonl.
struct StepMetrics {
  std::int64_t step = 0;  // from 0
  double loss = 0;
  double grad_norm = 0;  // before clipping
  double lr = 0;
  std::int64_t tokens = 0;  // of this step, over all ranks
  double step_ms = 0;
  double tokens_per_s = 0;
  double mfu = 0;         // model FLOP/s over the hardware's peak, a fraction
  double memory_gib = 0;  // peak of a rank
  std::optional<double> validation_loss;
  bool skipped = false;  // nothing was learned from the step's data; its loss does not count
  /// What the first rank sent along an axis in this step, and how long its calls took and were waited for.
  struct Axis {
    std::string name;
    double bytes = 0;
    double ms = 0;
    double wait_ms = 0;
  };
  std::vector<Axis> axes;
};

/// Whether the line stands for a step that a rollback left out: no time was spent on it.
[[nodiscard]] inline bool is_left_out(const StepMetrics& metrics) {
  return metrics.skipped && metrics.step_ms == 0;
}

/// One line without its newline: a JSON object whose doubles read back exactly. JSON has no NaN and no infinity: such a
/// number is null, and a text beside it ("loss_nonfinite": "nan") says which.
[[nodiscard]] std::string to_json_line(const StepMetrics& metrics);
/// Reads a line of to_json_line. Throws InputError "place: reason".
[[nodiscard]] StepMetrics parse_json_line(std::string_view line, std::string_view place);

/// The whole lines of a metrics file in order; a torn last line (a crash while it was written) is left out. Throws
/// InputError with path and line for anything else that is no metrics line.
[[nodiscard]] std::vector<StepMetrics> read_metrics(const std::filesystem::path& path);

/// Appends steps to metrics.jsonl, each flushed to the system at once, so that a killed process loses none.
class MetricsWriter {
 public:
  /// Opens or creates the file for a run whose next step is `next_step`: what an earlier run wrote of that step and
  /// later ones, and a torn last line, are cut off. Throws InputError when the file is no metrics file, Error when it
  /// cannot be written.
  MetricsWriter(std::filesystem::path path, std::int64_t next_step);
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;
  ~MetricsWriter();

  /// Throws Error when the line cannot be written (a full disk).
  void append(const StepMetrics& metrics);
  /// Makes what was appended durable; before a checkpoint says that the run can go on from there.
  void sync();
  /// Steps that an earlier run should have left before next_step and that the file does not hold (a lost disk cache).
  [[nodiscard]] std::int64_t missing_steps() const { return missing_steps_; }
  /// Whole lines from next_step on that were cut off.
  [[nodiscard]] std::int64_t cut_steps() const { return cut_steps_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
  std::int64_t missing_steps_ = 0;
  std::int64_t cut_steps_ = 0;
};

}  // namespace halo::launch
