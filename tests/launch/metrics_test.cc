#include "launch/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/rng.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

StepMetrics metrics_of(std::int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = 1.0 / static_cast<double>(step + 3);
  metrics.tokens = 1000;
  return metrics;
}

void append_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

std::vector<std::int64_t> steps_in(const std::filesystem::path& path) {
  std::vector<std::int64_t> steps;
  for (const StepMetrics& metrics : read_metrics(path)) steps.push_back(metrics.step);
  return steps;
}

TEST(Metrics, DoublesReadBackBitForBit) {
  const CounterRng rng(1, "metrics");
  for (std::uint64_t i = 0; i < 2000; ++i) {
    StepMetrics metrics = metrics_of(static_cast<std::int64_t>(i));
    metrics.loss =
        std::bit_cast<double>(rng.bits(2 * i));  // any exponent, NaN and infinity among them
    metrics.grad_norm = rng.uniform(2 * i + 1);
    const StepMetrics again = parse_json_line(to_json_line(metrics), "line");
    if (std::isnan(metrics.loss)) {
      EXPECT_TRUE(std::isnan(again.loss));
    } else {
      EXPECT_EQ(std::bit_cast<std::uint64_t>(again.loss),
                std::bit_cast<std::uint64_t>(metrics.loss));
    }
    EXPECT_EQ(again.grad_norm, metrics.grad_norm);
    EXPECT_EQ(again.step, metrics.step);
    EXPECT_FALSE(again.validation_loss);
  }
}

TEST(Metrics, AxesReadBack) {
  StepMetrics metrics = metrics_of(3);
  metrics.axes = {{"context", 4096, 1.5, 0.25}, {"tensor", 1e9, 0.1, 0}};
  const StepMetrics again = parse_json_line(to_json_line(metrics), "line");
  ASSERT_EQ(again.axes.size(), 2U);
  EXPECT_EQ(again.axes[0].name, "context");
  EXPECT_EQ(again.axes[0].bytes, 4096);
  EXPECT_EQ(again.axes[0].ms, 1.5);
  EXPECT_EQ(again.axes[0].wait_ms, 0.25);
  EXPECT_EQ(again.axes[1].bytes, 1e9);
}

TEST(Metrics, ASkippedStepSaysSo) {
  StepMetrics metrics = metrics_of(3);
  EXPECT_EQ(to_json_line(metrics).find("skipped"), std::string::npos);
  EXPECT_FALSE(parse_json_line(to_json_line(metrics), "line").skipped);
  metrics.skipped = true;
  metrics.loss = std::nan("");
  const StepMetrics again = parse_json_line(to_json_line(metrics), "line");
  EXPECT_TRUE(again.skipped);
  EXPECT_TRUE(std::isnan(again.loss));
}

TEST(Metrics, NonfiniteNumbersAreNullWithAWord) {
  StepMetrics metrics = metrics_of(0);
  metrics.loss = std::nan("");
  metrics.grad_norm = -std::numeric_limits<double>::infinity();
  metrics.validation_loss = std::numeric_limits<double>::infinity();
  const std::string line = to_json_line(metrics);
  EXPECT_NE(line.find(R"("loss":null,"loss_nonfinite":"nan")"), std::string::npos) << line;
  const StepMetrics again = parse_json_line(line, "line");
  EXPECT_TRUE(std::isnan(again.loss));
  EXPECT_EQ(again.grad_norm, metrics.grad_norm);
  EXPECT_EQ(again.validation_loss, metrics.validation_loss);
}

TEST(Metrics, HostileLinesAreRefused) {
  const std::string good = to_json_line(metrics_of(3));
  for (const std::string& line :
       {std::string("{}"), std::string("["), std::string("null"),
        std::string(good).replace(good.find("\"step\":3"), 8, "\"step\":-1"),
        std::string(good).replace(good.find("\"step\":3"), 8, "\"step\":\"3\""),
        std::string(good).replace(good.find("\"lr\":0.0"), 8, "\"lr\":null")}) {
    EXPECT_THROW((void)parse_json_line(line, "line"), InputError) << line;
  }
}

TEST(MetricsWriter, AResumedRunNeitherRepeatsNorLosesAStep) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "metrics.jsonl";
  {
    MetricsWriter writer(path, 0);
    EXPECT_EQ(writer.missing_steps(), 0);
    for (std::int64_t step = 0; step < 7; ++step) writer.append(metrics_of(step));
    writer.sync();
  }
  {
    MetricsWriter writer(path, 4);
    EXPECT_EQ(writer.missing_steps(), 0);
    EXPECT_EQ(steps_in(path), (std::vector<std::int64_t>{0, 1, 2, 3}));
    for (std::int64_t step = 4; step < 6; ++step) writer.append(metrics_of(step));
  }
  EXPECT_EQ(steps_in(path), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(read_metrics(path)[5].loss, metrics_of(5).loss);
}

TEST(MetricsWriter, StepsAreInTheFileAtOnce) {
  const test::TemporaryFolder folder;
  MetricsWriter writer(folder.path() / "metrics.jsonl", 0);
  writer.append(metrics_of(0));
  EXPECT_EQ(steps_in(folder.path() / "metrics.jsonl").size(), 1U);
}

TEST(MetricsWriter, ATornLastLineIsRepaired) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "metrics.jsonl";
  const std::string line = to_json_line(metrics_of(2));
  for (const std::string& torn :
       {line.substr(0, line.size() / 2), line, std::string(50, '\0') + "\n"}) {
    std::filesystem::remove(path);
    {
      MetricsWriter writer(path, 0);
      writer.append(metrics_of(0));
      writer.append(metrics_of(1));
    }
    append_text(path, torn);
    EXPECT_EQ(steps_in(path).size(), 2U);
    MetricsWriter writer(path, 2);
    writer.append(metrics_of(2));
    EXPECT_EQ(steps_in(path), (std::vector<std::int64_t>{0, 1, 2}));
  }
}

TEST(MetricsWriter, SaysWhatIsMissingAndRefusesOtherFiles) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "metrics.jsonl";
  { MetricsWriter(path, 0).append(metrics_of(0)); }
  EXPECT_EQ(MetricsWriter(path, 5).missing_steps(), 4);
  append_text(path, "hello\n");
  const std::string before = read_file(path);
  EXPECT_THROW(MetricsWriter(path, 5), InputError);
  EXPECT_EQ(read_file(path), before) << "a file that is not understood is left alone";
  EXPECT_THROW(MetricsWriter(folder.path() / "no" / "folder.jsonl", 0), Error);
}

TEST(MetricsWriter, AFullDiskIsAnError) {
  const test::TemporaryFolder folder;
  MetricsWriter writer(folder.path() / "metrics.jsonl", 0);
  writer.append(metrics_of(0));
  // A limit on the size of files stands for the full disk: the system then writes a part of a line or nothing.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {300, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto write_two = [&] {
    writer.append(metrics_of(1));
    writer.append(metrics_of(2));
  };
  EXPECT_THROW(write_two(), Error);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  MetricsWriter again(folder.path() / "metrics.jsonl", 1);
  again.append(metrics_of(1));
  EXPECT_EQ(steps_in(folder.path() / "metrics.jsonl"), (std::vector<std::int64_t>{0, 1}));
}

}  // namespace
}  // namespace halo::launch
