#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

#include "launch/metrics.h"

namespace halo::launch {

/// What a progress line is made from.
struct ProgressLine {
  std::string job;
  StepMetrics metrics;
  std::int64_t steps = 0;    // of the whole job
  double seconds_left = -1;  // below 0: not known yet
};

/// "align  120/1000  12%  loss 0.01234  3.4k tokens/s  MFU 41%  2 min 3 s left", cut to `width` columns: what matters
/// least goes first. A width of 0 has no limit.
[[nodiscard]] std::string to_string(const ProgressLine& line, int width);

/// Shows how a job gets on: on a terminal one line, rewritten in place; elsewhere plain lines, the first and the last
/// step and between them one whenever `log_every_seconds` have passed. Used by rank 0 alone.
class Progress {
 public:
  struct Options {
    std::string job;
    std::int64_t steps = 0;       // of the whole job
    std::int64_t first_step = 0;  // where this run begins
    double log_every_seconds = 10;
    bool terminal = false;  // see is_terminal
    int width = 0;          // of the terminal, 0: asked from the system
  };
  /// Writes to `out`, which must outlive this.
  Progress(std::FILE* out, Options options);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Ends the terminal's line.
  ~Progress();

  /// A step has ended, `now` seconds after any fixed moment.
  void step(const StepMetrics& metrics, double now);
  /// A line of its own that stays, such as "checkpoint step_00001000 written".
  void note(const std::string& text);

 private:
  [[nodiscard]] double seconds_left(const StepMetrics& metrics, double now);
  void show(const std::string& line);

  std::FILE* out_;
  Options options_;
  bool line_open_ = false;  // the terminal shows a line without a newline
  bool started_ = false;
  double last_shown_ = 0;  // seconds, when a line was last written
  double last_now_ = 0;
  double step_seconds_ = 0;  // smoothed
  double weight_ = 0;        // of step_seconds_, towards 1
};

/// Whether a stream is a terminal that takes a line rewritten in place.
[[nodiscard]] bool is_terminal(std::FILE* stream);

}  // namespace halo::launch
