#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/device_mesh.h"

namespace halo::test {

/// How a run is spread over ranks and computed: no result may depend on it.
struct LayoutCase {
  parallel::Layout layout;
  int chunks = 1;
  std::string context_attention = "RING";
  std::string context_state = "RING";
  bool recompute = false;
  bool overlap = true;
  std::int64_t bucket_elements = 1000;  // several buckets even of the golden models
};
void PrintTo(const LayoutCase& c, std::ostream* out);

/// Every layout of up to `max_ranks` ranks that a model of so many layers and heads can have, with the other options by
/// turns, so that each pair of options meets.
[[nodiscard]] std::vector<LayoutCase> layout_cases(int max_ranks, int layers, int heads);

/// Every `step`-th of them.
[[nodiscard]] std::vector<LayoutCase> every(std::size_t step, const std::vector<LayoutCase>& cases);

/// The config fields that say so, "path=value".
[[nodiscard]] std::vector<std::string> layout_settings(const LayoutCase& c);

}  // namespace halo::test
