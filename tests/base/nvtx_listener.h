#pragma once
#include <string>
#include <vector>

namespace halo::test {

/// What NVTX was told since the last call: "push a", "pop", "start b", "end b". For one thread.
[[nodiscard]] std::vector<std::string> take_nvtx_events();

}  // namespace halo::test
