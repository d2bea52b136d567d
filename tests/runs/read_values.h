#pragma once
#include <string>
#include <vector>

#include "checkpoints/safetensors.h"

namespace halo::test {

/// All values of the tensor `name`, row by row, in float64.
[[nodiscard]] inline std::vector<double> read_values(const checkpoints::SafetensorsFile& file,
                                                     const std::string& name) {
  const Shape shape = file.tensor(name).shape;
  std::vector<double> values(static_cast<std::size_t>(shape.elements()));
  file.read(name, parallel::whole(shape), view(values.data(), shape));
  return values;
}

}  // namespace halo::test
