#pragma once
#include <algorithm>
#include <vector>

namespace halo::launch {

/// Of at least one value; of an even number the upper.
[[nodiscard]] inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace halo::launch
