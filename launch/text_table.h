#pragma once
#include <string>
#include <vector>

namespace halo::launch {

/// Rows of cells in columns, for a terminal: the first column is aligned left, the others right. The first row is the head.
[[nodiscard]] std::string aligned_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace halo::launch
