#pragma once
#include <memory>
#include <string>

#include "parallel/comm/communicator.h"
#include "parallel/comm/progress_engine.h"

namespace halo::comm {

/// The communicator of all ranks of a transport. Collectives are written once, over nonblocking messages in a fixed
/// order; the local and the MPI body differ in their transport alone, so that tests with ranks as threads test what
/// runs under MPI. Host memory.
[[nodiscard]] std::unique_ptr<Communicator> make_transport_communicator(
    std::unique_ptr<Transport> transport, std::string name, const CommunicatorOptions& options);

}  // namespace halo::comm
