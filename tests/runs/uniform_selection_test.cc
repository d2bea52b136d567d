// Select jobs that measure nothing: layers by their place, which run where measuring could not, and by the scores of a file or
// of another job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The golden case with a select job between align and distill.
class UniformSelectionTest : public testing::Test {
 protected:
  /// One step of each stage, the layers chosen by a job with these fields of `select`.
  /// `before` is a job that it needs too, named measured.
  [[nodiscard]] ProgramResult run(const std::string& select, const std::string& output,
                                  const std::string& before = "") const {
    // The golden first weights fit the golden layers alone.
    std::string config = read_file(golden_.config());
    for (auto weights = config.find("student_weights: "); weights != std::string::npos;
         weights = config.find("student_weights: ")) {
      config.erase(weights, config.find('\n', weights) - weights);
    }
    const std::string keep = "keep_attention: [1,3]";
    config.replace(config.find(keep), keep.size(), "keep_attention_from: \"job:select\"");
    const std::string distill = "\"distill\" train {";
    config.replace(config.find(distill), distill.size(), "\"distill\" needs: \"select\" train {");
    config += before;
    config += str("job { name: \"select\" needs: \"align\" ",
                  before.empty() ? "" : "needs: \"measured\" ", "select { ", select, " } }\n");
    write_file_atomically(folder_ / "select.textproto", config);
    return run_program(
        train_command(0, {"--config", (folder_ / "select.textproto").string(), "--output",
                          (folder_ / output).string(), "--set", "train.steps=1"}));
  }
  [[nodiscard]] json result_of(const std::string& output) const {
    return json::parse(read_file(folder_ / (output + "/select/result.json")));
  }
  [[nodiscard]] json mixers_of(const std::string& output) const {
    return json::parse(read_file(folder_ / (output + "/distill/config.json")))["mixer_types"];
  }

  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

TEST_F(UniformSelectionTest, KeepsEvenlySpacedLayersAndMeasuresNothing) {
  write_file_atomically(folder_ / "no_tasks.jsonl", "{}\n");
  const std::string tasks = "tasks: \"" + (folder_ / "no_tasks.jsonl").string() + "\" ";
  const ProgramResult measured = run(tasks + "keep: 2", "measured");
  EXPECT_EQ(measured.exit_code, 2) << measured.output;
  EXPECT_THAT(measured.output, testing::HasSubstr("no_tasks.jsonl"));

  const ProgramResult two = run(tasks + "strategy: UNIFORM keep: 2", "two");
  ASSERT_EQ(two.exit_code, 0) << two.output;
  EXPECT_EQ(result_of("two"), (json{{"keep", 2}, {"selected", {1, 3}}}));
  EXPECT_EQ(mixers_of("two"), (json{"lightning-attn", "attn", "lightning-attn", "attn"}));

  const ProgramResult quarter = run("strategy: UNIFORM", "quarter");
  ASSERT_EQ(quarter.exit_code, 0) << quarter.output;
  EXPECT_EQ(result_of("quarter"), (json{{"keep", 1}, {"selected", {3}}}));
  EXPECT_EQ(mixers_of("quarter"),
            (json{"lightning-attn", "lightning-attn", "lightning-attn", "attn"}));
}

TEST_F(UniformSelectionTest, TakesOnlyTheNumbersOfAFileOfScores) {
  // By these scores layer 0 would be chosen.
  write_file_atomically(folder_ / "scores.json",
                        R"({"keep": 1, "layers": [{"layer": 0, "csr": 0.5, "recall": 0.1},
                            {"layer": 1, "csr": 0.5, "recall": 0.5}, {"layer": 2, "csr": 0.5, "recall": 0.5},
                            {"layer": 3, "csr": 0.5, "recall": 0.5}]})");
  const std::string scores = "scores: \"" + (folder_ / "scores.json").string() + "\" ";
  const ProgramResult important = run(scores, "important");
  ASSERT_EQ(important.exit_code, 0) << important.output;
  EXPECT_EQ(result_of("important")["selected"], json({0}));

  const ProgramResult first = run(scores + "strategy: FIRST keep: 2", "first");
  ASSERT_EQ(first.exit_code, 0) << first.output;
  EXPECT_EQ(result_of("first"), (json{{"keep", 2}, {"selected", {0, 1}}}));

  const ProgramResult uniform = run(scores + "strategy: UNIFORM", "uniform");
  ASSERT_EQ(uniform.exit_code, 0) << uniform.output;
  EXPECT_EQ(result_of("uniform"), (json{{"keep", 1}, {"selected", {3}}}));
}

TEST_F(UniformSelectionTest, TakesTheScoresOfAnotherSelectJob) {
  // Layer 2 loses most recall, and layer 1 most for what it loses of commonsense accuracy.
  write_file_atomically(folder_ / "scores.json",
                        R"({"keep": 3, "layers": [{"layer": 0, "csr": 0.6, "recall": 0.9},
                            {"layer": 1, "csr": 0.6, "recall": 0.5}, {"layer": 2, "csr": 0.1, "recall": 0.1},
                            {"layer": 3, "csr": 0.5, "recall": 0.8}]})");
  const std::string measured = str("job { name: \"measured\" select { scores: \"",
                                   (folder_ / "scores.json").string(), "\" } }\n");
  const auto selected = [&](const std::string& strategy) {
    const ProgramResult result =
        run("scores: \"job:measured\" keep: 1 strategy: " + strategy, strategy, measured);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result_of(strategy)["selected"];
  };
  EXPECT_EQ(selected("IMPORTANCE"), json({1}));
  EXPECT_EQ(selected("RECALL"), json({2}));
  EXPECT_EQ(result_of("RECALL")["keep"], 1) << "the job's, not the file's";
}

}  // namespace
}  // namespace halo::test
