#pragma once
#include "parallel/comm/mpi_communicator.h"

namespace halo::comm {

/// The session that the test program's main() has made.
[[nodiscard]] MpiSession& test_session();

}  // namespace halo::comm
