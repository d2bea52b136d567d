#pragma once
#include <memory>

#include "parallel/comm/communicator.h"

namespace halo::comm {

/// MPI from its initialisation to its end; one in a process, made first in main() and used by one thread at a time.
///
/// Its end needs every rank. Where one does not come the destructor leaves MPI as it is, and the program ends itself by
/// leave(), since MPI's own cleanup at exit may wait for the lost peer. A peer that missed a deadline may come back: then a
/// program that lives on ends as ever.
class MpiSession {
 public:
  /// Initialises MPI. Works under mpirun, srun and alone. Throws Error.
  MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  /// Waits until every rank has come here, then finalises MPI. Gives up on that after 30 s when there was a failure.
  /// Every communicator must be gone.
  ~MpiSession();

  [[nodiscard]] int rank() const;
  [[nodiscard]] int size() const;

  /// The communicator "world" of all ranks, with nothing in common with one made before. Collective; blocks until all
  /// ranks have called it, without a deadline: for the start of a program.
  [[nodiscard]] std::unique_ptr<Communicator> world(const CommunicatorOptions& options = {});

  /// After a PeerFailed by a deadline or by an error of MPI; not after one by a peer's abort.
  [[nodiscard]] bool may_have_lost_a_peer() const noexcept;

  /// Ends the process at once with what it wrote flushed, without destructors and exit handlers. mpirun then ends the
  /// ranks that are left.
  [[noreturn]] static void leave(int exit_code) noexcept;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace halo::comm
