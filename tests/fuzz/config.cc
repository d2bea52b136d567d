// A config from any bytes either resolves to one that reads back equal, or is refused with InputError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/base/error.h"
#include "launch/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::launch;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    // What follows a line "--set" is assignments, one a line.
    const std::size_t mark = text.find("\n--set\n");
    Config config = parse_config(text.substr(0, mark), "fuzz");
    std::size_t at = mark == std::string_view::npos ? text.size() : mark + 7;
    while (at < text.size()) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      apply_override(config, text.substr(at, end - at));
      at = end + 1;
    }
    const Config resolved = resolve(config, "fuzz");
    const std::string stored = to_text(resolved);
    const Config again = resolve(parse_config(stored, "stored"), "stored");
    if (to_text(again) != stored) std::abort();
    for (int job = 0; job < resolved.job_size(); ++job) {
      if (!changes_that_forbid_resume(job_config(again, job), job_config(resolved, job)).empty()) {
        std::abort();
      }
    }
  } catch (const halo::InputError&) {
  }
  return 0;
}
