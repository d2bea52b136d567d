// The layer sweep as a job of one rank for each shard of its batches: on any ranks, stopped, killed, damaged and failing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <tuple>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/scheduler/journal.h"
#include "tests/runs/byte_teacher.h"
#include "tests/runs/program.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr int kLayers = 4;
constexpr int kTaskFiles = 4;

/// A fresh teacher over bytes and its aligned mixers, made once; each test selects from a copy.
class LayerSweepRunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = new TestFolder;
    ByteTeacher sizes;
    sizes.layers = kLayers;
    write_byte_teacher(made_->path(), sizes);
    const ProgramResult result = run_program(
        train_command(0, {"--config", config(*made_, "made", ""), "--output", *made_ / "out"}));
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  static void TearDownTestSuite() {
    delete made_;
    made_ = nullptr;
  }

  static std::string config(const TestFolder& folder, const std::string& name,
                            const std::string& select) {
    const auto stage = [&](const std::string& fields) {
      return str(" data { tokens: \"", (*made_ / "text.h5").string(),
                 "\" sequence_length: 64 } batch { sequences: 4 } steps: 4 ", fields,
                 " optimizer { lr: 1e-2 } } }\n");
    };
    const fs::path path = folder / (name + ".textproto");
    write_file_atomically(path,
                          "threads: 1\njob { name: \"teacher\" train { stage: PRETRAIN model: \"" +
                              (*made_ / "model").string() + "\"" + stage("") +
                              "job { name: \"align\" needs: \"teacher\" train { stage: ALIGN "
                              "teacher: \"job:teacher\"" +
                              stage("") + select);
    return path;
  }

  void SetUp() override {
    for (int i = 0; i < kTaskFiles; ++i) write_file_atomically(task_file(i), tasks(i));
  }
  [[nodiscard]] fs::path task_file(int i) const { return folder_ / str("tasks", i, ".jsonl"); }

  /// Choice, recall and generation by turns.
  static std::string tasks(int file) {
    std::string lines;
    for (int i = 0; i < (file % 4 == 3 ? 4 : 60); ++i) {
      const std::string text = str("line ", (file * 24 + i) * i % 37, " of some text; ");
      json task{{"type", file % 4 == 3 ? "generation" : "recall"},
                {"prompt", text + text},
                {"answer", text}};
      if (file % 2 == 0)
        task = json{{"type", "choice"},
                    {"context", text},
                    {"choices", {text, "text some of line", ";;;; 1", "o o o"}},
                    {"answer", 0}};
      lines += task.dump() + "\n";
    }
    return lines;
  }

  /// A run whose teacher and mixers are there. Returns the arguments to it.
  std::vector<std::string> begin(const std::string& output, const std::string& fields = "") {
    if (!fs::exists(folder_ / output))
      fs::copy(*made_ / "out", folder_ / output, fs::copy_options::recursive);
    std::string select = "job { name: \"select\" needs: \"align\" select { keep: 1 " + fields;
    for (int i = 0; i < kTaskFiles; ++i) select += " tasks: \"" + task_file(i).string() + "\"";
    return {"--config",
            config(folder_, output, select + " } }\njob { name: \"report\" report {} }\n"),
            "--output", (folder_ / output).string()};
  }
  ProgramResult select(int ranks, const std::string& output, const std::string& fields = "") {
    return run_program(train_command(ranks, begin(output, fields)));
  }
  [[nodiscard]] fs::path result(const std::string& output) const {
    return folder_ / (output + "/select/result.json");
  }
  [[nodiscard]] fs::path shards(const std::string& output) const {
    return folder_ / (output + "/select/shards");
  }
  [[nodiscard]] int shards_done(const std::string& output) const {
    int done = 0;
    if (!fs::exists(shards(output))) return 0;
    for (const auto& entry : fs::directory_iterator(shards(output)))
      done += entry.path().extension() == ".scores" ? 1 : 0;
    return done;
  }
  /// Kills both ranks when some of 24 shards are done. Returns how many.
  int kill_among_shards(const std::string& output) {
    RunningProgram program(train_command(2, begin(output, "shards: 24")), folder_ / "output.txt");
    while (shards_done(output) < 3 && !program.has_ended())
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    program.kill_all();
    std::ignore = program.wait();
    EXPECT_FALSE(fs::exists(result(output))) << "it ended before it was killed";
    EXPECT_GE(shards_done(output), 3);
    return shards_done(output);
  }
  /// By program of the run, the shards that it began and the ranks that did them.
  struct Begun {
    int shards = 0;
    std::set<int> ranks;
  };
  [[nodiscard]] std::vector<Begun> begun(const std::string& output) const {
    std::vector<Begun> programs;
    for (const auto& event : launch::read_journal(folder_ / (output + "/journal"))) {
      if (event.has_began()) programs.emplace_back();
      if (!event.has_started() || event.started().name().find('.') == std::string::npos) continue;
      ++programs.back().shards;
      programs.back().ranks.insert(event.started().rank(0));
    }
    return programs;
  }
  void expect_one_ranks_result(const std::string& output) {
    ASSERT_EQ(select(0, "alone").exit_code, 0);
    EXPECT_EQ(read_file(result(output)), read_file(result("alone")));
    EXPECT_FALSE(fs::exists(shards(output)));
  }

  static inline TestFolder* made_ = nullptr;
  TestFolder folder_;
};

TEST_F(LayerSweepRunTest, AnyShardsOnAnyRanksGiveOneRanksBits) {
  const ProgramResult alone = select(0, "alone");
  ASSERT_EQ(alone.exit_code, 0) << alone.output;
  const json passes = json::parse(read_file(result("alone"))).at("passes");
  const int batches = passes.at("batches").get<int>();
  EXPECT_GT(batches, 30);
  EXPECT_EQ(passes.at("teacher"), batches * kLayers);
  EXPECT_EQ(passes.at("branches"), batches * kLayers * (kLayers + 1) / 2);
  EXPECT_THAT(alone.output, HasSubstr("batches of 14 layer passes each (16 one layer after"));

  const ProgramResult four = select(4, "four", "shards: 7");
  ASSERT_EQ(four.exit_code, 0) << four.output;
  EXPECT_EQ(read_file(result("four")), read_file(result("alone")));
  EXPECT_THAT(four.output, HasSubstr("job select: 7 of 7 shards are done"));
  EXPECT_THAT(four.output, HasSubstr("9 jobs on 4 ranks in "));
  EXPECT_THAT(four.output, HasSubstr("% of the ranks' time without a job"));
  EXPECT_THAT(read_file(folder_ / "four/report.html"), HasSubstr("time without a job"));
  EXPECT_EQ(begun("four").back().shards, 7);
  EXPECT_EQ(begun("four").back().ranks, (std::set{0, 1, 2, 3}));
  EXPECT_FALSE(fs::exists(shards("four")));
}

TEST_F(LayerSweepRunTest, AStoppedSweepGoesOnWithTheShardsDoneOnOtherRanks) {
  RunningProgram program(train_command(2, begin("out", "shards: 20")), folder_ / "output.txt");
  while (shards_done("out") < 3 && !program.has_ended())
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  program.signal(SIGUSR1);
  const ProgramResult stopped = program.wait();
  EXPECT_EQ(stopped.exit_code, 0) << stopped.output;
  EXPECT_FALSE(fs::exists(result("out"))) << "it ended before it was stopped";
  const int done = shards_done("out");
  EXPECT_GE(done, 3);
  EXPECT_THAT(stopped.output, HasSubstr(str("stopped as asked before the end of job select, with ",
                                            done, " of 20 shards done; the same command goes on")));

  const ProgramResult refused = select(3, "out", "max_examples: 3");
  EXPECT_EQ(refused.exit_code, 2) << "what is measured is of all examples";
  EXPECT_THAT(refused.output, HasSubstr("job select began with another config"));

  const ProgramResult again = select(3, "out", "shards: 5");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr(str("job select goes on: ", done, " of 20 shards are done")));
  EXPECT_EQ(begun("out").back().shards, 20 - done);
  expect_one_ranks_result("out");
}

TEST_F(LayerSweepRunTest, AKilledSweepGoesOnWithWhatIsWholeAndOfTheSameInputs) {
  const int done = kill_among_shards("out");
  fs::copy(folder_ / "out", folder_ / "other", fs::copy_options::recursive);
  const fs::path damaged = fs::directory_iterator(shards("out"))->path();
  std::string bytes = read_file(damaged);
  bytes[bytes.size() / 2] ^= 1;
  write_file_atomically(damaged, bytes);
  const ProgramResult again = select(0, "out");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr(damaged.string() + ": is damaged"));
  EXPECT_THAT(again.output, HasSubstr(str("goes on: ", done - 1, " of 24 shards are done")));
  expect_one_ranks_result("out");

  const std::string task = read_file(task_file(0));
  write_file_atomically(task_file(0), task.substr(0, task.find('\n') + 1));
  const ProgramResult other = select(2, "other", "shards: 3");
  ASSERT_EQ(other.exit_code, 0) << other.output;
  EXPECT_THAT(other.output, Not(HasSubstr("goes on")));
  EXPECT_EQ(begun("other").back().shards, 3);
  EXPECT_NE(read_file(result("other")), read_file(result("out")));
}

TEST_F(LayerSweepRunTest, AShardThatFailsFailsTheJobForItsReasonOnce) {
  write_file_atomically(
      task_file(1),
      json{{"type", "recall"}, {"prompt", "p"}, {"answer", std::string(5000, 'x')}}.dump());
  const ProgramResult failed = select(2, "out", "shards: 6");
  EXPECT_EQ(failed.exit_code, 2) << failed.output;
  const std::string reason = "job select: task tasks1, example 1: its answer of 5000 tokens does";
  const std::size_t at = failed.output.find(reason);
  ASSERT_NE(at, std::string::npos) << failed.output;
  EXPECT_EQ(failed.output.find(reason, at + 1), std::string::npos) << failed.output;
  EXPECT_THAT(failed.output, Not(HasSubstr("select.")));
  EXPECT_TRUE(fs::exists(folder_ / "out/report.html"));

  write_file_atomically(task_file(1), tasks(1));
  const ProgramResult mended = select(2, "out", "shards: 6");
  ASSERT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_TRUE(fs::exists(result("out")));
}

}  // namespace
}  // namespace halo::test
