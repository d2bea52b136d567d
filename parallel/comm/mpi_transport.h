#pragma once
#include <memory>

#include "parallel/comm/mpi_communicator.h"
#include "parallel/comm/transport.h"

namespace halo::comm {

/// What a session and its transports share.
struct MpiSession::State {
  int rank = 0;
  int size = 1;
  bool suspected = false;  // a peer may be gone: it missed a deadline, or MPI failed
  bool failed = false;     // an abort was sent or received
};

/// Throws Error naming the call for an MPI error code.
void check_mpi(int code, const char* call);

/// Duplicates MPI_COMM_WORLD, which blocks until all ranks do.
[[nodiscard]] std::unique_ptr<Transport> make_mpi_transport(
    std::shared_ptr<MpiSession::State> session);

/// Yields the processor while `idle` is short, then sleeps longer and longer, up to 1 ms: many idle ranks leave few
/// processors to those that work.
void back_off(std::chrono::nanoseconds idle);

}  // namespace halo::comm
