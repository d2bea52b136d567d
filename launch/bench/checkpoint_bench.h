#pragma once
#include <string>

namespace halo::launch {

struct CheckpointBenchOptions {
  std::string folder = ".";  // on the disk to measure; what is made in it is removed
  double gib = 0.25;         // of state: masters and moments of all ranks
  int ranks = 2;             // threads of this process
  int turns = 3;             // each way once a turn
};

/// Medians of the turns. Rates are of the state's bytes, in bytes a second.
struct CheckpointMeasurement {
  double bytes = 0;
  double plain_write = 0;  // as many bytes in blocks of 1 MiB, a file a rank, synced
  double save = 0;         // training waits for the whole of it
  double save_beside = 0;  // from a copy, from the begin until it has its name
  double stalled = 0;      // seconds that training stood still for that copy and what goes with it
  double plain_read = 0;   // of the plain files, not from memory
  double load = 0;         // of the checkpoint: checksums compared, every part read
};

/// Saves and loads checkpoints of random state. Throws Error with the system's reason.
[[nodiscard]] CheckpointMeasurement measure_checkpoint(const CheckpointBenchOptions& options);

}  // namespace halo::launch
