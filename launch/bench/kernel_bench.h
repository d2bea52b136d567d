#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "launch/bench/kernel_cases.h"

namespace halo::launch {

/// What the machine gives a program that does nothing else: the roofline that kernels are held against.
struct MachineRates {
  double bytes_per_s = 0;  // read and written, of a large copy
  double flops_per_s = 0;  // of the fastest of some large products in the same dtype
};

struct KernelTiming {
  std::string op, shape;
  double seconds = 0;  // median
  KernelCost cost;
  std::vector<std::string> peers;
  /// Whether arithmetic, rather than memory, bounds it from below.
  [[nodiscard]] bool computes(const MachineRates& rates) const {
    return cost.flops * rates.bytes_per_s > cost.bytes * rates.flops_per_s;
  }
  /// The least time that it could take over the time it takes.
  [[nodiscard]] double share(const MachineRates& rates) const {
    return std::max(cost.flops / rates.flops_per_s, cost.bytes / rates.bytes_per_s) / seconds;
  }
};

[[nodiscard]] MachineRates measure_rates(const KernelSizes& sizes, Operands& operands);

/// Cases whose "op shape" holds a match of the regular expression. Throws InputError for an expression that is none, or
/// that nothing matches.
[[nodiscard]] std::vector<KernelCase> select_cases(const std::vector<KernelCase>& cases,
                                                   const std::string& expression);

/// By the device's clock: the median of `repeats` calls, or of fewer where they would take longer than a second. Clears the
/// operands.
[[nodiscard]] KernelTiming measure_kernel(const KernelCase& kernel, int repeats,
                                          Operands& operands);

}  // namespace halo::launch
