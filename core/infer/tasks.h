#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace halo::infer {

/// One example of an evaluation task. Task files are JSONL, one example a line (docs/formats/tasks.md):
///   {"type": "choice", "context": "...", "choices": [" a", " b"], "answer": 0}
///   {"type": "recall", "prompt": "...", "answer": " ..."}
///   {"type": "generation", "prompt": "...", "answer": "..."}
struct TaskExample {
  /// Recall is scored on the answer's tokens, generation on the greedy continuation of the prompt.
  enum class Type : std::uint8_t { kChoice, kRecall, kGeneration };
  Type type = Type::kChoice;
  std::string context;               // context or prompt
  std::vector<std::string> answers;  // the choices; otherwise the one answer
  int correct = 0;                   // index in answers
};

/// A file of examples, all of one type.
struct Task {
  std::string name;  // the file's, without folder and ending
  TaskExample::Type type = TaskExample::Type::kChoice;
  std::vector<TaskExample> examples;
};

/// Whether it measures recall rather than choosing, which layer selection tells apart.
[[nodiscard]] inline bool measures_recall(const Task& task) {
  return task.type != TaskExample::Type::kChoice;
}

/// Throws InputError "name:line: reason" for what is no such example, an empty answer, two types in a file, no example.
[[nodiscard]] Task parse_task(std::string_view jsonl, const std::string& name);
[[nodiscard]] Task read_task(const std::string& path);
/// The first `max_examples` of each file; 0: all. Throws InputError also for two files of one name, since scores are kept
/// by name.
[[nodiscard]] std::vector<Task> read_tasks(const std::vector<std::string>& paths,
                                           std::int64_t max_examples);

/// The tokens of a context and one answer, to be scored on the answer's tokens.
struct ScoredSequence {
  std::vector<std::int32_t> tokens;
  std::int64_t answer_begin = 0;  // tokens before it are context
  std::int64_t characters = 0;    // of the answer, in Unicode code points
  int example = 0;                // in the task
  int answer = 0;                 // in the example
};

/// Context and answer are encoded together, and what the context alone gives is taken for its share, so that scores
/// match a tokenizer that merges across the border. Contexts are cut from the left to fit `max_tokens`. Throws InputError
/// naming the example when even its answer does not fit.
[[nodiscard]] std::vector<ScoredSequence> scored_sequences(const Task& task,
                                                           const data::Tokenizer& tokenizer,
                                                           std::int64_t max_tokens);

}  // namespace halo::infer
