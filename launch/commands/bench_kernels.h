#pragma once
#include "launch/command_line.h"

namespace halo::launch {

/// Adds `halo bench kernels`.
void add_kernel_bench(Command& bench);

}  // namespace halo::launch
