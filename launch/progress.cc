#include "launch/progress.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {
namespace {

constexpr double kRedrawSeconds = 0.1;  // a terminal is not rewritten more often
constexpr double kSmoothing = 0.05;     // weight of the newest step's time

int terminal_width(std::FILE* stream) {
  winsize size{};
  const bool known = ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace

std::string to_string(const ProgressLine& line, int width) {
  const StepMetrics& metrics = line.metrics;
  const std::int64_t done = metrics.step + 1;
  const std::string total = str(line.steps);
  std::string count = str(done);
  count.insert(0, total.size() > count.size() ? total.size() - count.size() : 0, ' ');

  struct Part {
    std::string text;
    int rank;  // the highest goes first when the line is too long
  };
  std::vector<Part> parts = {{line.job, 2}, {str(count, '/', total), 0}};
  if (line.steps > 0) {
    parts.push_back({str(100 * done / line.steps, '%'), 5});
  }
  parts.push_back({metrics.skipped ? "skipped" : "loss " + formatted("%.5g", metrics.loss), 0});
  if (metrics.validation_loss) {
    parts.push_back({"validation " + formatted("%.5g", *metrics.validation_loss), 1});
  }
  parts.push_back({human_count(metrics.tokens_per_s) + " tokens/s", 3});
  if (metrics.mfu > 0) parts.push_back({"MFU " + formatted("%.1f%%", 100 * metrics.mfu), 4});
  if (line.seconds_left >= 0) parts.push_back({human_seconds(line.seconds_left) + " left", 2});

  const auto joined = [&] {
    std::string text;
    for (const Part& part : parts) text += (text.empty() ? "" : "  ") + part.text;
    return text;
  };
  std::string text = joined();
  while (width > 0 && std::ssize(text) > width) {
    const auto least = std::ranges::max_element(parts, {}, &Part::rank);
    if (least->rank == 0) break;
    parts.erase(least);
    text = joined();
  }
  return width > 0 ? text.substr(0, static_cast<std::size_t>(width)) : text;
}

Progress::Progress(std::FILE* out, Options options) : out_(out), options_(std::move(options)) {}

Progress::~Progress() {
  if (line_open_) std::fputs("\n", out_);
  std::fflush(out_);
}

double Progress::seconds_left(const StepMetrics& metrics, double now) {
  if (started_) {
    // A mean that forgets, its first values weighted as a plain mean.
    weight_ = std::max(kSmoothing, weight_ / (1 + weight_));
    step_seconds_ += weight_ * (now - last_now_ - step_seconds_);
  } else {
    weight_ = 1;  // the first step is known only by what it says itself, which leaves out start-up
    step_seconds_ = metrics.step_ms / 1000;
  }
  return step_seconds_ * static_cast<double>(options_.steps - metrics.step - 1);
}

void Progress::step(const StepMetrics& metrics, double now) {
  const double left = seconds_left(metrics, now);
  const bool last = metrics.step + 1 >= options_.steps;
  const double spacing = options_.terminal ? kRedrawSeconds : options_.log_every_seconds;
  const bool due = !started_ || last || metrics.validation_loss || now - last_shown_ >= spacing;
  started_ = true;
  last_now_ = now;
  if (!due) return;
  last_shown_ = now;
  const ProgressLine line = {options_.job, metrics, options_.steps, last ? -1 : left};
  int width = 0;
  if (options_.terminal) width = options_.width > 0 ? options_.width : terminal_width(out_) - 1;
  show(to_string(line, width));
}

void Progress::show(const std::string& line) {
  // "\x1b[K" clears what a longer line before left behind.
  const std::string text = options_.terminal ? "\r" + line + "\x1b[K" : line + "\n";
  std::fputs(text.c_str(), out_);
  std::fflush(out_);
  line_open_ = options_.terminal;
}

void Progress::note(const std::string& text) {
  const std::string line = (line_open_ ? "\r\x1b[K" : "") + text + "\n";
  std::fputs(line.c_str(), out_);
  std::fflush(out_);
  line_open_ = false;
}

bool is_terminal(std::FILE* stream) {
  if (::isatty(::fileno(stream)) == 0) return false;
  // mpirun gives each rank a terminal of its own, wherever its own output goes.
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr) {
    const std::string launcher = "/proc/" + std::to_string(::getppid()) + "/fd/1";
    const int out = ::open(launcher.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
    const bool terminal = out >= 0 && ::isatty(out) != 0;
    if (out >= 0) ::close(out);
    if (!terminal) return false;
  }
  const char* kind = std::getenv("TERM");
  return kind == nullptr || std::string_view(kind) != "dumb";
}

}  // namespace halo::launch
