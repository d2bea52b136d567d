#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "launch/bench/kernel_bench.h"

namespace halo::launch {

/// What another program measured of kernels that compute the same.
struct PeerTimes {
  std::string device;
  std::map<std::string, double> ms;  // by the names of its rows
};
/// From a file {"device": ..., "rows": [{"name": ..., "ms": ...}, ...]}; rows without "ms" are left out. Throws InputError.
[[nodiscard]] PeerTimes read_peer_times(const std::filesystem::path& path);
/// The fastest of its rows that compute what `timing` is of; none: null.
[[nodiscard]] const std::pair<const std::string, double>* fastest_peer(const KernelTiming& timing,
                                                                       const PeerTimes& peer);

/// What a run was of.
struct KernelRun {
  std::string device, model;
  DType dtype = DType::kFloat32;
  MachineRates rates;
  PeerTimes peer;
  std::vector<KernelTiming> timings = {};
};
// A table of fixed columns, whose rows can be printed as they come.
[[nodiscard]] std::string kernel_table_head(const KernelRun& run);
[[nodiscard]] std::string kernel_table_row(const KernelTiming& timing, const KernelRun& run);
[[nodiscard]] std::string to_json(const KernelRun& run);

}  // namespace halo::launch
