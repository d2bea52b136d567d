// Curves of a job in bounded memory, read from a metrics.jsonl that grows, is cut and is replaced.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/monitor/metrics_tail.h"
#include "launch/monitor/status_text.h"
#include "tests/monitor/sample_status.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

constexpr std::size_t kAll = std::size_t{1} << 30;

std::vector<int> numbers(const Decimated<int>& series, std::size_t most = 1000) {
  return series.values(most);
}

TEST(DecimatedTest, KeepsAllThatFit) {
  Decimated<int> series(4);
  EXPECT_TRUE(numbers(series).empty());
  for (int i = 0; i < 4; ++i) series.add(i);
  EXPECT_EQ(numbers(series), (std::vector{0, 1, 2, 3}));
}

TEST(DecimatedTest, HalvesWhatDoesNotFitAndKeepsTheLast) {
  Decimated<int> series(4);
  for (int i = 0; i < 6; ++i) series.add(i);
  EXPECT_EQ(series.stride(), 2U);
  EXPECT_EQ(numbers(series), (std::vector{0, 2, 4, 5}));
  series.add(6);
  EXPECT_EQ(numbers(series), (std::vector{0, 2, 4, 6}));
}

TEST(DecimatedTest, AnyLengthAndAnyNumberOfPoints) {
  for (const std::size_t capacity : {2U, 3U, 8U}) {
    Decimated<int> series(capacity);
    for (int length = 1; length < 300; ++length) {
      series.add(length - 1);
      ASSERT_EQ(series.count(), static_cast<std::uint64_t>(length));
      for (const std::size_t most : {2U, 3U, 5U, 100U}) {
        const std::vector<int> values = numbers(series, most);
        ASSERT_LE(values.size(), std::min(most, capacity + 1));
        ASSERT_EQ(values.front(), 0);
        ASSERT_EQ(values.back(), length - 1);
        for (std::size_t i = 1; i < values.size(); ++i) ASSERT_LT(values[i - 1], values[i]);
      }
    }
  }
}

TEST(DecimatedTest, SkippingWhatIsNotKeptChangesNothing) {
  Decimated<int> all(8), some(8);
  for (int i = 0; i < 1000; ++i) {
    all.add(i);
    if (some.keeps_next() || i == 999)
      some.add(i);
    else
      some.skip();
  }
  EXPECT_EQ(numbers(all), numbers(some));
}

class MetricsTailTest : public testing::Test {
 protected:
  void append(std::int64_t from, std::int64_t to, double add = 0) {
    std::ofstream out(path_, std::ios::app);
    for (std::int64_t step = from; step < to; ++step) {
      StepMetrics m = sample_step(step);
      m.loss += add;
      if (step % 100 == 99) m.validation_loss = static_cast<double>(step);
      out << to_json_line(m) << '\n';
    }
  }
  void append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "metrics.jsonl";
  MetricsTail tail_{path_};
};

TEST_F(MetricsTailTest, FollowsAFileThatGrows) {
  EXPECT_TRUE(tail_.follow(kAll)) << "there is no file yet";
  EXPECT_EQ(tail_.progress().last, std::nullopt);
  for (std::int64_t step = 0; step < 250; step += 50) {
    append(step, step + 50);
    EXPECT_TRUE(tail_.follow(kAll));
    EXPECT_EQ(tail_.progress().step(), step + 50);
    EXPECT_EQ(tail_.progress().last->loss, sample_step(step + 49).loss);
  }
  const auto points = tail_.curve().values(1000);
  ASSERT_EQ(points.size(), 250U);
  for (std::size_t i = 0; i < points.size(); ++i)
    EXPECT_EQ(points[i].loss, sample_step(static_cast<std::int64_t>(i)).loss);
  ASSERT_EQ(tail_.validation().values(1000).size(), 2U);
  EXPECT_EQ(tail_.validation().values(1000)[1].loss, 199);
  EXPECT_EQ(*tail_.progress().last_validation->validation_loss, 199);
}

TEST_F(MetricsTailTest, WaitsForTheRestOfALine) {
  append(0, 2);
  const std::string line = to_json_line(sample_step(2)) + "\n";
  append(line.substr(0, 40));
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_EQ(tail_.progress().step(), 2);
  append(line.substr(40));
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_EQ(tail_.progress().step(), 3);
}

TEST_F(MetricsTailTest, ManyStepsTakeBoundedMemoryAndKeepEveryValidation) {
  constexpr std::int64_t kSteps = 50000;
  append(0, kSteps);
  int requests = 1;
  while (!tail_.follow(std::size_t{1} << 20)) ++requests;
  EXPECT_GT(requests, 5) << "each reads a part";
  EXPECT_EQ(tail_.progress().step(), kSteps);
  EXPECT_EQ(tail_.curve().count(), static_cast<std::uint64_t>(kSteps));
  const auto points = tail_.curve().values(MetricsTail::kMostPoints);
  EXPECT_LE(points.size(), MetricsTail::kMostPoints);
  EXPECT_GE(points.size(), MetricsTail::kMostPoints / 3);
  for (const CurvePoint& point : points) EXPECT_EQ(point.loss, sample_step(point.step).loss);
  EXPECT_EQ(points.back().step, kSteps - 1);
  EXPECT_EQ(tail_.validation().count(), 500U);
}

TEST_F(MetricsTailTest, AFileThatIsCutOrWrittenAnewIsReadAnew) {
  append(0, 300);
  EXPECT_TRUE(tail_.follow(kAll));
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_LT(tail_.progress().step(), 160);

  std::filesystem::resize_file(path_, 0);  // and longer than before when it is looked at again
  append(0, 400, 0.5);
  EXPECT_TRUE(tail_.follow(kAll));
  const auto points = tail_.curve().values(1000);
  ASSERT_EQ(points.size(), 400U);
  for (const CurvePoint& point : points) EXPECT_EQ(point.loss, sample_step(point.step).loss + 0.5);

  std::filesystem::remove(path_);
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_EQ(tail_.progress().step(), 0);
}

TEST_F(MetricsTailTest, WhatIsNoMetricsIsLeftAlone) {
  append(0, 3);
  append("{\"step\": true}\n");
  append(4, 6);
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_LE(tail_.progress().step(), 3);
  std::filesystem::remove(path_);
  append(std::string(3 << 20, 'x'));  // a line without an end
  EXPECT_TRUE(tail_.follow(kAll));
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_TRUE(tail_.follow(kAll));
  EXPECT_EQ(tail_.progress().step(), 0);
}

TEST_F(MetricsTailTest, TheCurveAsJson) {
  append(0, 200);
  EXPECT_TRUE(tail_.follow(kAll));
  const auto json = nlohmann::json::parse(curve_json("align", tail_, 10, true));
  EXPECT_EQ(json["job"], "align");
  EXPECT_EQ(json["steps"], 200);
  EXPECT_EQ(json["complete"], true);
  EXPECT_EQ(json["columns"][1], "loss");
  ASSERT_LE(json["points"].size(), 10U);
  EXPECT_EQ(json["points"][0][1], sample_step(0).loss);
  EXPECT_EQ(json["points"].back()[0], 199);
  EXPECT_EQ(json["points"].back()[1], sample_step(199).loss) << "at full precision";
  EXPECT_EQ(json["validation"], nlohmann::json::parse("[[99, 99.0], [199, 199.0]]"));
}

}  // namespace
}  // namespace halo::launch
