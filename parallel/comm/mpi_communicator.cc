#include "parallel/comm/mpi_communicator.h"

#include <glog/logging.h>
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "parallel/comm/mpi_transport.h"
#include "parallel/comm/transport_communicator.h"

namespace halo::comm {
namespace {

constexpr std::chrono::seconds kFarewell{
    30};  // for peers that heard of a failure to come to their end

/// True when all ranks have come. Without `limited`, waits as long as MPI_Finalize would.
bool everyone_came(bool limited) {
  const auto begin = std::chrono::steady_clock::now();
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(MPI_COMM_WORLD, &request), "MPI_Ibarrier");
  for (;;) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) return true;
    const auto idle = std::chrono::steady_clock::now() - begin;
    if (limited && idle > kFarewell) return false;
    back_off(idle);
  }
}

}  // namespace

MpiSession::MpiSession() : state_(std::make_shared<State>()) {
  // Ranks may share processors: one that waits inside MPI must not keep another from running.
  ::setenv("OMPI_MCA_mpi_yield_when_idle", "1", /*overwrite=*/0);
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  HALO_REQUIRE(provided >= MPI_THREAD_SERIALIZED,
               str("this MPI offers thread level ", provided, ", below MPI_THREAD_SERIALIZED"));
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &state_->rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &state_->size), "MPI_Comm_size");
}

MpiSession::~MpiSession() {
  try {
    if (everyone_came(state_->failed || state_->suspected))
      check_mpi(MPI_Finalize(), "MPI_Finalize");
    else
      LOG(ERROR) << "rank " << state_->rank << ": not every rank came to its end";
  } catch (const std::exception& failure) {
    LOG(ERROR) << "rank " << state_->rank << ": " << failure.what();
  }
}

int MpiSession::rank() const { return state_->rank; }
int MpiSession::size() const { return state_->size; }

std::unique_ptr<Communicator> MpiSession::world(const CommunicatorOptions& options) {
  return make_transport_communicator(make_mpi_transport(state_), "world", options);
}

bool MpiSession::may_have_lost_a_peer() const noexcept { return state_->suspected; }

void MpiSession::leave(int exit_code) noexcept {
  std::fflush(nullptr);
  ::_exit(exit_code);
}

}  // namespace halo::comm
