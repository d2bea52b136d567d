// A config.json from any bytes either gives an architecture that is written and read back equal, or is refused with
// InputError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "core/model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::model;
  ModelConfig config;
  try {
    config = parse_model_config({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const halo::InputError&) {
    return 0;
  }
  if (parse_model_config(to_json(config), "written") != config) std::abort();
  return 0;
}
