#pragma once
#include <span>

#include "parallel/comm/communicator.h"

namespace halo::comm {

/// One test of what a Communicator promises, run by every rank of "world". The same bodies run with ranks as threads
/// and under mpirun, on any number of ranks.
struct Case {
  const char* name;
  void (*run)(Communicator& world);
};
[[nodiscard]] std::span<const Case> collective_cases();
[[nodiscard]] std::span<const Case> failure_cases();  // leave every rank alive and `world` usable

}  // namespace halo::comm
