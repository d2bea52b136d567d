#include "tests/sweep/sweep_case.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/scheduler/journal.h"

namespace halo::test {

namespace fs = std::filesystem;

SweepCase::SweepCase(const std::string& sweep) {
  const std::string teacher = str("teacher: \"", golden_.teacher().string(), '"');
  const std::string data = str("data { tokens: \"", golden_.tokens().string(),
                               "\" sequence_length: 16 } batch { sequences: 2 }");
  const std::string text = str(
      "precision: FP64 threads: 1 monitor { tensorboard: false }\n"
      "job { name: \"align\" ranks: 1 train { stage: ALIGN ",
      teacher, ' ', data,
      " steps: 3 optimizer { lr: 1e-3 warmup_steps: 1 } checkpoint { asynchronous: false } } }\n"
      "job { name: \"distill\" needs: \"align\" ranks: 1 train { stage: DISTILL ",
      teacher, " student: \"job:align\" keep_attention: [1] ", data, " validation { tokens: \"",
      golden_.tokens().string(),
      "\" sequences: 2 every_steps: 2 } steps: 18"
      " optimizer { lr: 1e-3 min_lr: 0 warmup_steps: 2 } checkpoint { every_steps: 5 asynchronous: "
      "false } } }\n"
      "job { name: \"score\" needs: \"distill\" ranks: 1 evaluate { models: \"job:distill\" "
      "tokens: \"",
      golden_.tokens().string(),
      "\" sequences: 2 sequence_length: 32 } }\n"
      "job { name: \"report\" report {} }\nsweep { ",
      sweep, " }\n");
  write_file_atomically(config(), text);
}

std::vector<std::string> SweepCase::command(int ranks, const std::string& output,
                                            const std::vector<std::string>& more) const {
  std::vector<std::string> arguments{"--config", config().string(), "--output",
                                     (folder_ / output).string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return train_command(ranks, arguments);
}

ProgramResult SweepCase::run(int ranks, const std::string& output,
                             const std::vector<std::string>& more) const {
  return run_program(command(ranks, output, more));
}

std::vector<std::map<std::string, std::string>> SweepCase::table(const std::string& output) const {
  const fs::path file = folder_ / (output + ".json");
  const ProgramResult result =
      run_program({program("halo").string(), "report", "--config", config().string(), "--output",
                   (folder_ / output).string(), "--json", file.string()});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  std::vector<std::map<std::string, std::string>> rows;
  const auto document = nlohmann::json::parse(read_file(file));
  for (const auto& trial : document["trials"]) {
    std::map<std::string, std::string>& row = rows.emplace_back();
    for (const auto& [name, value] : trial.items())
      row[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return rows;
}

void SweepCase::expect_as_alone(const std::string& output,
                                const std::map<std::string, std::string>& row) const {
  SCOPED_TRACE("trial " + row.at("trial"));
  const std::string alone = str("alone_", row.at("trial"));
  const ProgramResult result = run(0, alone, {"--trial", row.at("trial")});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto swept =
      launch::read_metrics(folder_ / (output + '/' + row.at("job") + "/metrics.jsonl"));
  const auto whole = launch::read_metrics(folder_ / (alone + "/distill/metrics.jsonl"));
  ASSERT_EQ(swept.size(), static_cast<std::size_t>(std::stoul(row.at("step"))));
  ASSERT_GE(whole.size(), swept.size());
  for (std::size_t i = 0; i < swept.size(); ++i) {
    ASSERT_EQ(swept[i].step, static_cast<std::int64_t>(i));
    EXPECT_EQ(swept[i].loss, whole[i].loss) << i;
    EXPECT_EQ(swept[i].lr, whole[i].lr) << i;
    EXPECT_EQ(swept[i].grad_norm, whole[i].grad_norm) << i;
    EXPECT_EQ(swept[i].validation_loss, whole[i].validation_loss) << i;
  }
  ASSERT_TRUE(swept.back().validation_loss.has_value());
  EXPECT_EQ(std::stod(row.at("objective")), *swept.back().validation_loss);
  fs::remove_all(folder_ / alone);
}

bool SweepCase::kill(int ranks, const std::string& output, std::size_t events,
                     int milliseconds) const {
  RunningProgram program(command(ranks, output), folder_ / "output.txt");
  while (launch::read_journal(folder_ / (output + "/journal")).size() < events) {
    if (program.has_ended()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  const bool ran = !program.has_ended();
  program.kill_all();
  (void)program.wait();
  return ran;
}

}  // namespace halo::test
