#include "core/infer/generation_task.h"

#include <algorithm>
#include <string>

#include "core/base/error.h"

namespace halo::infer {
namespace {

constexpr std::int64_t kGeneratedTokens = 48;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

GenerationPrompt generation_prompt(const TaskExample& example, const data::Tokenizer& tokenizer,
                                   std::int64_t max_tokens) {
  const std::size_t answer_tokens = tokenizer.encode(example.answers.front()).size();
  GenerationPrompt prompt{tokenizer.encode(example.context),
                          std::max(kGeneratedTokens, 2 * static_cast<std::int64_t>(answer_tokens)),
                          trimmed(example.answers.front())};
  HALO_REQUIRE_INPUT(!prompt.tokens.empty(), "its prompt has no tokens");
  HALO_REQUIRE_INPUT(prompt.new_tokens < max_tokens,
                     str("its continuation by ", prompt.new_tokens, " tokens does not fit ",
                         max_tokens, " tokens with a token before it"));
  const auto length = static_cast<std::int64_t>(prompt.tokens.size());
  const std::int64_t excess = std::max<std::int64_t>(0, length + prompt.new_tokens - max_tokens);
  prompt.tokens.erase(prompt.tokens.begin(), prompt.tokens.begin() + excess);
  return prompt;
}

}  // namespace

std::vector<GenerationPrompt> generation_prompts(const Task& task, const data::Tokenizer& tokenizer,
                                                 std::int64_t max_tokens) {
  std::vector<GenerationPrompt> prompts;
  for (const TaskExample& example : task.examples) {
    try {
      prompts.push_back(generation_prompt(example, tokenizer, max_tokens));
    } catch (const InputError& error) {
      throw InputError(
          str("task ", task.name, ", example ", prompts.size() + 1, ": ", error.what()));
    }
  }
  return prompts;
}

bool is_answered(const GenerationPrompt& prompt, std::vector<std::int32_t> continuation,
                 const data::Tokenizer& tokenizer) {
  // A model's vocabulary may be padded past its tokenizer's.
  std::erase_if(continuation, [&](std::int32_t id) { return id >= tokenizer.vocab_size(); });
  return tokenizer.decode(continuation, /*skip_special=*/true).find(prompt.answer) !=
         std::string::npos;
}

}  // namespace halo::infer
