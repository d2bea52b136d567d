// A select job that is asked to stop ends between two task files, leaves nothing behind, and begins anew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"
#include "tests/runs/program.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kTaskFiles = 30;

/// A fresh teacher over bytes, its aligned mixers, and a select job that reads many task files.
class SelectStopTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    fs::create_directories(model_);
    data::TokenizerTrainer trainer({.vocab_size = 257, .special_tokens = {"<|endoftext|>"}});
    write_file_atomically(model_ / "tokenizer.json", trainer.train());
    write_file_atomically(model_ / "config.json", json{{"model_type", "qwen3"},
                                                       {"vocab_size", 257},
                                                       {"hidden_size", 32},
                                                       {"intermediate_size", 64},
                                                       {"num_hidden_layers", 4},
                                                       {"num_attention_heads", 2},
                                                       {"num_key_value_heads", 1},
                                                       {"head_dim", 16},
                                                       {"rms_norm_eps", 1e-6},
                                                       {"rope_theta", 1e6},
                                                       {"tie_word_embeddings", true},
                                                       {"hidden_act", "silu"},
                                                       {"attention_bias", false},
                                                       {"max_position_embeddings", 4096}}
                                                      .dump());
    write_tokens();
    std::string select = "job { name: \"select\" needs: \"align\" select { keep: 1";
    for (int i = 0; i < kTaskFiles; ++i) {
      const std::string path = (folder_ / str("tasks", i, ".jsonl")).string();
      write_file_atomically(path, tasks(i));
      select += " tasks: \"" + path + "\"";
    }
    const auto stage = [&](const std::string& fields) {
      return str(" data { tokens: \"", (folder_ / "text.h5").string(),
                 "\" sequence_length: 64 } batch { sequences: 4 } steps: 4 ", fields,
                 " optimizer { lr: 1e-2 } } }\n");
    };
    write_file_atomically(folder_ / "run.textproto",
                          "threads: 1\njob { name: \"teacher\" train { stage: PRETRAIN model: \"" +
                              model_.string() + "\"" + stage("") +
                              "job { name: \"align\" needs: \"teacher\" train { stage: ALIGN "
                              "teacher: \"job:teacher\"" +
                              stage("") + select + " } }\n");
  }

  void write_tokens() const {
    const data::Tokenizer tokenizer(model_ / "tokenizer.json");
    std::string text;
    for (int i = 0; i < 400; ++i) text += str("line ", i * i % 37, " of some text; ");
    data::TokenFileWriter writer(folder_ / "text.h5", {257, -1, ""});
    writer.add_document(tokenizer.encode(text));
    writer.finish();
  }

  /// Recall and choice by turns, so that each half of the scores needs many files.
  [[nodiscard]] static std::string tasks(int file) {
    std::string lines;
    for (int i = 0; i < 24; ++i) {
      const std::string text = str("line ", (file * 24 + i) * i % 37, " of some text; ");
      const json task = file % 2 == 0
                            ? json{{"type", "recall"}, {"prompt", text + text}, {"answer", text}}
                            : json{{"type", "choice"},
                                   {"context", text},
                                   {"choices", {text, "text some of line", ";;;; 1", "o o o"}},
                                   {"answer", 0}};
      lines += task.dump() + "\n";
    }
    return lines;
  }

  [[nodiscard]] std::vector<std::string> command(const std::string& output) const {
    return train_command(GetParam(), {"--config", (folder_ / "run.textproto").string(), "--output",
                                      (folder_ / output).string()});
  }
  [[nodiscard]] fs::path result_of(const std::string& output) const {
    return folder_ / (output + "/select/result.json");
  }

  /// Asks the run to stop a moment after align has ended.
  [[nodiscard]] ProgramResult stop_in_select(const std::string& output) const {
    RunningProgram program(command(output), folder_ / "output.txt");
    while (!fs::exists(folder_ / (output + "/align/summary.json")) && !program.has_ended())
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    program.signal(GetParam() > 0 ? SIGUSR1 : SIGTERM);
    return program.wait();
  }

  TestFolder folder_;
  fs::path model_ = folder_ / "model";
};

TEST_P(SelectStopTest, EndsBetweenTasksAndBeginsAnew) {
  const ProgramResult unbroken = run_program(command("unbroken"));
  ASSERT_EQ(unbroken.exit_code, 0) << unbroken.output;

  const ProgramResult stopped = stop_in_select("stopped");
  EXPECT_EQ(stopped.exit_code, 0) << stopped.output;
  EXPECT_THAT(stopped.output,
              testing::HasSubstr("stopped as asked before the end of job select; the same command "
                                 "goes on from there"));
  EXPECT_FALSE(fs::exists(result_of("stopped")));

  const ProgramResult again = run_program(command("stopped"));
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(read_file(result_of("stopped")), read_file(result_of("unbroken")));
}

INSTANTIATE_TEST_SUITE_P(Ranks, SelectStopTest, testing::Values(0, 2));

}  // namespace
}  // namespace halo::test
