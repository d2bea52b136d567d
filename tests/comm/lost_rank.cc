// Rank 1 is lost, and all others must notice by themselves: `lost_rank late` (it sleeps), `lost_rank killed`.
// Every survivor prints "rank R noticed: REASON" and ends with 0. With `lost_rank back` it comes back from its sleep, and all
// go on and end as ever.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "parallel/comm/mpi_communicator.h"

namespace halo::comm {
namespace {

void lose_this_rank(const std::string& how) {
  if (how == "killed") ::raise(SIGKILL);
  std::this_thread::sleep_for(std::chrono::seconds(4));
  MpiSession::leave(0);
}

int run(const std::string& how) {
  MpiSession session;
  int result = 1;
  {
    const auto world = session.world({.deadline = std::chrono::milliseconds(1500)});
    world->barrier().wait();
    if (session.rank() == 1) lose_this_rank(how);
    std::vector<float> values(1 << 20);
    try {
      world->all_reduce(view(values.data(), {1 << 20}), ReduceOp::kSum).wait();
    } catch (const PeerFailed& failure) {
      std::printf("rank %d noticed: %s\n", session.rank(), failure.what());
      result = failure.rank == 1 && session.may_have_lost_a_peer() ? 0 : 1;
    }
  }
  // Ranks leave together, so that mpirun does not end the others first.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  MpiSession::leave(result);
}

/// A job of all ranks misses its deadline; the process lives on, and so does the world.
int run_back() {
  bool noticed = false;
  {
    MpiSession session;
    const auto world = session.world({.deadline = std::chrono::milliseconds(1500)});
    const auto job = world->split(0, world->rank(), "job");
    world->barrier().wait();
    if (session.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    try {
      job->barrier().wait();
    } catch (const PeerFailed& failure) {
      noticed = true;
      job->abort(failure.what());
    }
    world->barrier().wait();
  }
  return noticed ? 0 : 1;  // mpirun finds a rank that did not finalise MPI at fault
}

}  // namespace
}  // namespace halo::comm

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  return how == "back" ? halo::comm::run_back() : halo::comm::run(how);
}
