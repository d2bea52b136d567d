#pragma once
#include <memory>
#include <vector>

#include "parallel/comm/transport.h"

namespace halo::comm {

/// Transports between `size` threads of this process, by rank. Short messages are copied when sent; long ones go from
/// the sender's buffer to the receiver's once both have posted theirs.
[[nodiscard]] std::vector<std::unique_ptr<Transport>> make_local_transports(int size);

}  // namespace halo::comm
