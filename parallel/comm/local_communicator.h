#pragma once
#include <functional>
#include <memory>
#include <string>

#include "parallel/comm/communicator.h"

namespace halo::comm {

/// Runs `body` on `size` threads, one rank of the communicator "world" each. When one throws, the waits of the others
/// end with PeerFailed; once all have ended, the first failure is thrown again that is not such a PeerFailed.
void run_ranks(int size, const std::function<void(Communicator&)>& body,
               const CommunicatorOptions& options = {});

/// A communicator of this rank alone. Made by no one else's help, and its calls end at once.
[[nodiscard]] std::unique_ptr<Communicator> make_self_communicator(std::string name);

}  // namespace halo::comm
