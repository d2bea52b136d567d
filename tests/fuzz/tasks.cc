// Any bytes are either a task file, each example with an answer that is right and none that is empty, or refused with
// InputError.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "core/infer/tasks.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::infer;
  try {
    const Task task = parse_task({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (task.examples.empty()) std::abort();
    for (const TaskExample& example : task.examples) {
      const std::size_t answers = example.answers.size();
      const bool choice = task.type == TaskExample::Type::kChoice;
      if (example.type != task.type || (choice ? answers < 2 : answers != 1)) std::abort();
      if (example.correct < 0 || static_cast<std::size_t>(example.correct) >= answers) std::abort();
      if (std::ranges::any_of(example.answers, &std::string::empty)) std::abort();
    }
  } catch (const halo::InputError&) {
  }
  return 0;
}
