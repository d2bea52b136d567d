#include "launch/bench/kernel_report.h"

#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/file.h"
#include "core/base/json.h"

namespace halo::launch {
namespace {

constexpr int kOpWidth = 38, kShapeWidth = 36;

}  // namespace

PeerTimes read_peer_times(const std::filesystem::path& path) {
  const nlohmann::json document = parse_json(read_file(path), path.string());
  const JsonValue root(document, path.string());
  const JsonValue rows = root.at("rows");
  rows.require_array();
  PeerTimes times;
  times.device = root.at("device").string();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto ms = rows[i].find("ms");
    if (!ms) continue;
    if (!(ms->number() > 0)) ms->fail("expected a time above 0");
    times.ms[rows[i].at("name").string()] = ms->number();
  }
  return times;
}

const std::pair<const std::string, double>* fastest_peer(const KernelTiming& timing,
                                                         const PeerTimes& peer) {
  const std::pair<const std::string, double>* fastest = nullptr;
  for (const std::string& name : timing.peers) {
    const auto found = peer.ms.find(name);
    if (found != peer.ms.end() && (fastest == nullptr || found->second < fastest->second))
      fastest = &*found;
  }
  return fastest;
}

std::string kernel_table_head(const KernelRun& run) {
  std::ostringstream out;
  out << run.device << ", " << run.model << " in " << dtype_name(run.dtype) << std::fixed
      << std::setprecision(0) << ": copies " << run.rates.bytes_per_s / 1e9 << " GB/s, products "
      << std::setprecision(2) << run.rates.flops_per_s / 1e12 << " TFLOP/s\n";
  if (!run.peer.ms.empty()) out << "the peer's times are of " << run.peer.device << '\n';
  out << std::left << std::setw(kOpWidth) << "op" << std::setw(kShapeWidth) << "shape" << std::right
      << std::setw(10) << "ms" << std::setw(9) << "GB/s" << std::setw(9) << "TFLOP/s"
      << std::setw(10) << "roofline";
  if (!run.peer.ms.empty()) out << std::setw(10) << "peer ms" << std::setw(7) << "ratio";
  return out.str();
}

std::string kernel_table_row(const KernelTiming& t, const KernelRun& run) {
  std::ostringstream out;
  out << std::fixed << std::left << std::setw(kOpWidth) << t.op << std::setw(kShapeWidth) << t.shape
      << std::right << std::setprecision(4) << std::setw(10) << 1e3 * t.seconds
      << std::setprecision(0) << std::setw(9) << t.cost.bytes / t.seconds / 1e9
      << std::setprecision(2) << std::setw(9);
  if (t.cost.flops > 0)
    out << t.cost.flops / t.seconds / 1e12;
  else
    out << "";
  out << std::setprecision(0) << std::setw(9) << 100 * t.share(run.rates) << '%';
  if (const auto* const peer = fastest_peer(t, run.peer)) {
    out << std::setprecision(4) << std::setw(10) << peer->second << std::setprecision(2)
        << std::setw(7) << peer->second / (1e3 * t.seconds);
  }
  return out.str();
}

std::string to_json(const KernelRun& run) {
  nlohmann::ordered_json document{{"device", run.device},
                                  {"model", run.model},
                                  {"dtype", dtype_name(run.dtype)},
                                  {"copy_bytes_per_s", run.rates.bytes_per_s},
                                  {"product_flops_per_s", run.rates.flops_per_s},
                                  {"rows", nlohmann::ordered_json::array()}};
  for (const KernelTiming& t : run.timings) {
    nlohmann::ordered_json row{{"op", t.op},
                               {"shape", t.shape},
                               {"ms", 1e3 * t.seconds},
                               {"bytes", t.cost.bytes},
                               {"flops", t.cost.flops},
                               {"bound", t.computes(run.rates) ? "arithmetic" : "memory"},
                               {"roofline_share", t.share(run.rates)}};
    if (const auto* const peer = fastest_peer(t, run.peer)) {
      row["peer"] = peer->first;
      row["peer_ms"] = peer->second;
    }
    document["rows"].push_back(std::move(row));
  }
  return document.dump(1) + "\n";
}

}  // namespace halo::launch
