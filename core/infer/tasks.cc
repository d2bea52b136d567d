#include "core/infer/tasks.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

namespace halo::infer {
namespace {

TaskExample parse_choice(const JsonValue& line) {
  TaskExample example;
  example.context = line.at("context").string();
  const JsonValue choices = line.at("choices");
  for (std::size_t i = 0; i < choices.size(); ++i) example.answers.push_back(choices[i].string());
  if (example.answers.size() < 2) choices.fail("a choice needs at least two answers");
  example.correct = static_cast<int>(
      line.at("answer").integer(0, static_cast<std::int64_t>(example.answers.size()) - 1));
  return example;
}

TaskExample parse_recall(const JsonValue& line, TaskExample::Type type) {
  TaskExample example;
  example.type = type;
  example.context = line.at("prompt").string();
  example.answers.push_back(line.at("answer").string());
  return example;
}

TaskExample::Type parse_type(const JsonValue& name) {
  if (name.string() == "choice") return TaskExample::Type::kChoice;
  if (name.string() == "recall") return TaskExample::Type::kRecall;
  if (name.string() == "generation") return TaskExample::Type::kGeneration;
  name.fail("\"" + name.string() + "\" is none of \"choice\", \"recall\" and \"generation\"");
}

TaskExample parse_example(std::string_view text, const std::string& place) {
  const nlohmann::json document = parse_json(text, place);
  const JsonValue line(document, place);
  line.require_object();
  const TaskExample::Type type = parse_type(line.at("type"));
  TaskExample example =
      type == TaskExample::Type::kChoice ? parse_choice(line) : parse_recall(line, type);
  for (const std::string& answer : example.answers) {
    if (answer.find_first_not_of(" \t\r\n") == std::string::npos) line.fail("an answer is empty");
  }
  return example;
}

std::int64_t code_points(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

std::size_t common_prefix(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  const auto [at, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(at - a.begin());
}

ScoredSequence scored_sequence(const TaskExample& example, int answer,
                               const data::Tokenizer& tokenizer, std::int64_t max_tokens) {
  const std::string& text = example.answers[static_cast<std::size_t>(answer)];
  ScoredSequence sequence;
  sequence.tokens = tokenizer.encode(example.context + text);
  const auto border = common_prefix(sequence.tokens, tokenizer.encode(example.context));
  // Something must come before the first scored token, and something must be scored.
  sequence.answer_begin = std::max<std::int64_t>(1, static_cast<std::int64_t>(border));
  const auto length = static_cast<std::int64_t>(sequence.tokens.size());
  sequence.answer_begin = std::min(sequence.answer_begin, length - 1);
  sequence.characters = code_points(text);
  sequence.answer = answer;
  const std::int64_t excess = std::max<std::int64_t>(0, length - max_tokens);
  HALO_REQUIRE_INPUT(length >= 2 && excess < sequence.answer_begin,
                     str("its answer of ", length - sequence.answer_begin, " tokens does not fit ",
                         max_tokens, " tokens with a token before it"));
  sequence.tokens.erase(sequence.tokens.begin(), sequence.tokens.begin() + excess);
  sequence.answer_begin -= excess;
  return sequence;
}

}  // namespace

Task parse_task(std::string_view jsonl, const std::string& name) {
  Task task;
  task.name = std::filesystem::path(name).stem().string();
  int number = 0;
  while (!jsonl.empty()) {
    const std::size_t end = std::min(jsonl.find('\n'), jsonl.size());
    const std::string_view line = jsonl.substr(0, end);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = str(name, ':', number);
    TaskExample example = parse_example(line, place);
    if (task.examples.empty()) task.type = example.type;
    HALO_REQUIRE_INPUT(example.type == task.type, place + ": the file holds examples of two types");
    task.examples.push_back(std::move(example));
  }
  HALO_REQUIRE_INPUT(!task.examples.empty(), name + ": no examples");
  return task;
}

Task read_task(const std::string& path) { return parse_task(read_file(path), path); }

std::vector<Task> read_tasks(const std::vector<std::string>& paths, std::int64_t max_examples) {
  std::vector<Task> tasks;
  for (const std::string& path : paths) {
    Task task = read_task(path);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      HALO_REQUIRE_INPUT(task.name != tasks[i].name,
                         str(path, ": its task is named ", task.name, ", as that of ", paths[i]));
    }
    const auto most = static_cast<std::size_t>(max_examples);
    if (most > 0 && task.examples.size() > most) task.examples.resize(most);
    tasks.push_back(std::move(task));
  }
  return tasks;
}

std::vector<ScoredSequence> scored_sequences(const Task& task, const data::Tokenizer& tokenizer,
                                             std::int64_t max_tokens) {
  std::vector<ScoredSequence> sequences;
  for (std::size_t i = 0; i < task.examples.size(); ++i) {
    const TaskExample& example = task.examples[i];
    for (std::size_t a = 0; a < example.answers.size(); ++a) {
      try {
        sequences.push_back(scored_sequence(example, static_cast<int>(a), tokenizer, max_tokens));
      } catch (const InputError& error) {
        throw InputError(str("task ", task.name, ", example ", i + 1, ": ", error.what()));
      }
      sequences.back().example = static_cast<int>(i);
    }
  }
  return sequences;
}

}  // namespace halo::infer
