#pragma once
#include <string_view>
#include <vector>

#include "core/infer/tasks.h"

namespace halo::infer {

/// What an example of a generation task asks of a model.
struct GenerationPrompt {
  std::vector<std::int32_t> tokens;
  std::int64_t new_tokens = 0;  // to go on by: 48, or twice the answer's when those are more
  std::string_view answer;      // of the task's example, without the white space around it
};

/// Those of every example, in order. Prompts are cut from the left to fit `max_tokens` with their continuation. Throws
/// InputError naming the example when even that does not fit.
[[nodiscard]] std::vector<GenerationPrompt> generation_prompts(const Task& task,
                                                               const data::Tokenizer& tokenizer,
                                                               std::int64_t max_tokens);

/// Whether the answer stands in a continuation of the prompt.
[[nodiscard]] bool is_answered(const GenerationPrompt& prompt,
                               std::vector<std::int32_t> continuation,
                               const data::Tokenizer& tokenizer);

}  // namespace halo::infer
