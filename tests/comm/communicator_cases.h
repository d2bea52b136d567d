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
/// Of more communicators, one after the other, than kFewTags as a world's `max_tag` has tags for at once.
[[nodiscard]] std::span<const Case> reuse_cases();
constexpr int kFewTags = 32767;  // what MPI promises: 31 communicators

}  // namespace halo::comm
