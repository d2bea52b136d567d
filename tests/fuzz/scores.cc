// Scores from any bytes either select layers or are refused with InputError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "core/halo/select.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::method;
  try {
    Sweep sweep = parse_sweep({reinterpret_cast<const char*>(data), size}, "fuzz");
    const std::vector<int> kept = select_layers(importance(sweep.layers), sweep.keep);
    if (parse_sweep(sweep_to_json(sweep), "again").expected_keep != kept) std::abort();
  } catch (const halo::InputError&) {
  }
  return 0;
}
