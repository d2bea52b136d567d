// The layer sweep that shares the teacher's stream, beside one layer after the other, data-parallel on the same ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/scheduler/journal.h"
#include "tests/runs/byte_teacher.h"
#include "tests/runs/program.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kLayers = 24;
constexpr int kRanks = 8;
constexpr int kTurns = 3;

/// A fresh teacher over bytes, its mixers, and by turns a sweep and an evaluation of each M(i).
class LayerSweepSpeedTest : public testing::Test {
 protected:
  void SetUp() override {
    write_byte_teacher(folder_.path(), {.hidden_size = 64,
                                        .intermediate_size = 128,
                                        .layers = kLayers,
                                        .heads = 4,
                                        .key_heads = 2});
    write_tasks();
  }

  void write_tasks() const {
    std::string recall, choice;
    for (int i = 0; i < 96; ++i) {
      std::string prompt;
      for (int k = 0; k < 6; ++k) prompt += byte_line(i + k);
      recall +=
          json{{"type", "recall"}, {"prompt", prompt}, {"answer", byte_line(i)}}.dump() + "\n";
      choice += json{{"type", "choice"},
                     {"context", byte_line(i) + byte_line(i + 1)},
                     {"choices", {byte_line(i + 2), "text some of line", ";;;; 1", "o o o"}},
                     {"answer", 0}}
                    .dump() +
                "\n";
    }
    write_file_atomically(folder_ / "recall.jsonl", recall);
    write_file_atomically(folder_ / "choice.jsonl", choice);
  }

  /// Scores by which all layers but one stay attention.
  [[nodiscard]] std::string scores_without(int layer) const {
    json scores{{"layers", json::array()}};
    for (int i = 0; i < kLayers; ++i)
      scores["layers"].push_back({{"layer", i}, {"csr", 0.5}, {"recall", i == layer ? 1.0 : 0.0}});
    const fs::path path = folder_ / str("without", layer, ".json");
    write_file_atomically(path, scores.dump());
    return path;
  }
  [[nodiscard]] std::string tasks() const {
    return str(" tasks: \"", (folder_ / "recall.jsonl").string(), "\" tasks: \"",
               (folder_ / "choice.jsonl").string(), "\"");
  }
  [[nodiscard]] fs::path config() const {
    const std::string stage = str(" data { tokens: \"", (folder_ / "text.h5").string(),
                                  "\" sequence_length: 64 } batch { sequences: 8 } steps: 2 } }\n");
    std::string text = str("threads: 1\njob { name: \"teacher\" train { stage: PRETRAIN model: \"",
                           (folder_ / "model").string(), "\"", stage,
                           "job { name: \"align\" needs: \"teacher\" train { stage: ALIGN teacher: "
                           "\"job:teacher\"",
                           stage);
    for (int i = 0; i < kLayers; ++i)
      text += str("job { name: \"keep", i, "\" needs: \"align\" select { keep: ", kLayers - 1,
                  " scores: \"", scores_without(i), "\" } }\n");
    std::string before = "needs: \"align\"";
    for (int i = 0; i < kLayers; ++i) before += str(" needs: \"keep", i, "\"");
    for (int turn = 0; turn < kTurns; ++turn) {
      text += str("job { name: \"sweep", turn, "\" ", before,
                  " select { mixers: \"job:align\" keep: 6", tasks(), " } }\n");
      before = "needs: \"align\"";
      for (int i = 0; i < kLayers; ++i) {
        text += str("job { name: \"alone", turn, "_", i, "\" needs: \"sweep", turn,
                    "\" needs: \"align\" needs: \"keep", i, "\" evaluate { models: \"job:align\" ",
                    "keep_attention_from: \"job:keep", i, "\"", tasks(), " } }\n");
        before += str(" needs: \"alone", turn, "_", i, "\"");
      }
    }
    const fs::path path = folder_ / "run.textproto";
    write_file_atomically(path, text + "job { name: \"report\" report {} }\n");
    return path;
  }

  /// Seconds from the first start to the last end of the jobs whose names begin so.
  [[nodiscard]] double seconds(const std::string& prefix) const {
    double first = 1e300, last = 0;
    for (const auto& event : launch::read_journal(folder_ / "out/journal")) {
      if (event.has_started() && event.started().name().starts_with(prefix))
        first = std::min(first, event.time());
      if (event.has_ended() && event.ended().name().starts_with(prefix))
        last = std::max(last, event.time());
    }
    return last - first;
  }
  [[nodiscard]] json result(const std::string& job) const {
    return json::parse(read_file(folder_ / ("out/" + job + "/result.json")));
  }

  TestFolder folder_;
};

TEST_F(LayerSweepSpeedTest, IsFasterThanOneLayerAfterTheOther) {
  const ProgramResult run = run_program(train_command(
      kRanks, {"--config", config().string(), "--output", (folder_ / "out").string()}));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  EXPECT_THAT(run.output, testing::HasSubstr("of the ranks' time without a job"));
  EXPECT_THAT(run.output, testing::HasSubstr(str("of ", kLayers * (kLayers + 3) / 2,
                                                 " layer passes each (", kLayers * kLayers)));
  const json sweep = result("sweep0");
  for (int i = 0; i < kLayers; ++i) {
    const json alone = result(str("alone0_", i)).at("models").at(0).at("tasks");
    EXPECT_NEAR(sweep["layers"][i]["recall"].get<double>(), alone["recall"].get<double>(), 1e-3);
    EXPECT_NEAR(sweep["layers"][i]["csr"].get<double>(), alone["choice"].get<double>(), 0.011);
  }
  std::vector<double> shared_seconds, alone_seconds;
  for (int turn = 0; turn < kTurns; ++turn) {
    const double shared = seconds(str("sweep", turn)), alone = seconds(str("alone", turn, '_'));
    std::cout << std::fixed << std::setprecision(2) << "shared " << shared
              << " s, one layer after the other " << alone << " s, ratio " << alone / shared
              << '\n';
    shared_seconds.push_back(shared);
    alone_seconds.push_back(alone);
  }
  // Of the shortest times: what a machine that others use gives when they rest.
  const double ratio = std::ranges::min(alone_seconds) / std::ranges::min(shared_seconds);
  std::cout << "ratio of the shortest times " << ratio
            << run.output.substr(run.output.rfind('\n', run.output.rfind(" jobs on ")));
  EXPECT_GE(ratio, 1.6);
}

}  // namespace
}  // namespace halo::test
