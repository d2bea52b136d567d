#pragma once
#include <cstdint>
#include <string>

namespace halo::launch {

struct ContextBenchOptions {
  std::int64_t T = 16384;  // tokens of the sequence
  std::int64_t H = 8, G = 4, K = 64;
  int ranks = 2;            // threads of this process, one thread each
  int turns = 5;            // one rank, all ranks, all without each other, by turns
  bool scan = false;        // states by a scan in place of a ring
  bool contiguous = false;  // one fragment a rank, in place of zigzag's two
};

/// Medians of the turns; ratios are of times in the same turn.
struct ContextMeasurement {
  double one_ms = 0;       // forward and backward of the whole sequence on one rank
  double all_ms = 0;       // on all ranks, of the slowest
  double ratio = 0;        // of it to a perfect share
  double apart_ratio = 0;  // likewise of the same fragments as sequences of their own
  // The same ratios of the shortest times of all turns: what a machine that others use gives when they rest.
  double best_ratio = 0, best_apart_ratio = 0;
  double wait_share = 0;  // of all_ms, while rank 0 waited for others
  double bytes = 0;       // that rank 0 sent
  int ranks = 1;
};

/// Lightning attention in float32 over one sequence, whole and cut among ranks.
[[nodiscard]] ContextMeasurement measure_context(const ContextBenchOptions& options);

}  // namespace halo::launch
