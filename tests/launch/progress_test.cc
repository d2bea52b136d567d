#include "launch/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace halo::launch {
namespace {

StepMetrics metrics_of(std::int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = 2.25;
  metrics.step_ms = 1000;
  metrics.tokens_per_s = 3400;
  metrics.mfu = 0.412;
  return metrics;
}

/// What `body` writes to the stream that it is given.
template <class Body>
std::string written(const Body& body) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* stream = ::open_memstream(&text, &size);
  body(stream);
  std::fclose(stream);
  std::string result(text, size);
  std::free(text);
  return result;
}

TEST(ProgressLine, ShowsWhatAPersonWantsToKnow) {
  const ProgressLine line = {"align", metrics_of(119), 1000, 880};
  EXPECT_EQ(to_string(line, 0),
            "align   120/1000  12%  loss 2.25  3.40K tokens/s  MFU 41.2%  15 min left");
}

TEST(ProgressLine, DropsTheLeastImportantWhenNarrow) {
  ProgressLine line = {"align", metrics_of(119), 1000, 880};
  std::size_t last = to_string(line, 0).size();
  for (int width = 100; width > 0; --width) {
    const std::string text = to_string(line, width);
    EXPECT_LE(std::ssize(text), width);
    EXPECT_LE(text.size(), last);
    last = text.size();
  }
  EXPECT_EQ(to_string(line, 45), "align   120/1000  loss 2.25  15 min left");
  EXPECT_EQ(to_string(line, 30), " 120/1000  loss 2.25");
  line.metrics.loss = std::nan("");
  EXPECT_NE(to_string(line, 0).find("loss nan"), std::string::npos);
}

TEST(Progress, WritesPlainLinesAtDistancesInAFile) {
  const std::string text = written([](std::FILE* out) {
    Progress progress(out, {.job = "align", .steps = 100, .log_every_seconds = 10});
    for (std::int64_t step = 0; step < 100; ++step) {
      if (step == 50) progress.note("checkpoint written");
      progress.step(metrics_of(step), 1000.0 + static_cast<double>(step));
    }
  });
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  // Steps 0, 10, ..., 90 and the last, and the note.
  EXPECT_EQ(std::ranges::count(text, '\n'), 12);
  EXPECT_NE(text.find("checkpoint written\n"), std::string::npos);
  EXPECT_NE(text.find("align    1/100  1%  loss 2.25  3.40K tokens/s  MFU 41.2%  2 min left\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("align  100/100  100%  loss 2.25  3.40K tokens/s  MFU 41.2%\n"),
            std::string::npos)
      << text;
}

TEST(Progress, RewritesOneLineOnATerminal) {
  const std::string text = written([](std::FILE* out) {
    Progress progress(out, {.job = "align", .steps = 3, .terminal = true, .width = 60});
    progress.step(metrics_of(0), 0);
    progress.step(metrics_of(1), 0.01);  // too soon to be redrawn
    progress.note("a note");
    progress.step(metrics_of(2), 0.02);
  });
  EXPECT_EQ(std::ranges::count(text, '\n'), 2) << "the note and the end";
  EXPECT_EQ(text.find("2/3"), std::string::npos);
  EXPECT_NE(text.find("\r\x1b[Ka note\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\x1b[K\n"));
}

TEST(Progress, EstimatesTheTimeLeftFromTheNewestSteps) {
  const std::string text = written([](std::FILE* out) {
    Progress progress(out, {.job = "j", .steps = 1001, .log_every_seconds = 0});
    for (std::int64_t step = 0; step < 500; ++step) {
      progress.step(metrics_of(step), static_cast<double>(step));
    }
    for (std::int64_t step = 500; step < 800; ++step) {
      progress.step(metrics_of(step), 500 + 4 * static_cast<double>(step - 500));
    }
  });
  // 201 steps of 4 s are 804 s; the 300 slow steps outweigh the fast ones by 1 - 0.95^300.
  EXPECT_NE(text.rfind("13 min left"), std::string::npos) << text.substr(text.size() - 200);
}

}  // namespace
}  // namespace halo::launch
