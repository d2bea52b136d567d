#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "core/base/tensor_view.h"
#include "parallel/region.h"

namespace halo::checkpoints {

enum class Which : std::uint8_t { kMaster, kM, kV };
[[nodiscard]] std::string_view which_name(Which which);  // "master", "m", "v"

/// A rectangle of a tensor in a rank's file, with a CRC-32C of the values of each of master, m and v (0 without).
struct StoredSlice {
  std::size_t tensor = 0;  // index in Manifest::tensors
  parallel::Region region;
  std::array<std::uint32_t, 3> crc{};
};

struct RankFileEntry {
  std::string name;  // within the checkpoint's folder
  std::int64_t bytes = 0;
  std::uint32_t crc = 0;  // CRC-32C of the whole file
  std::string processor;
  std::vector<StoredSlice> slices;
};

struct CheckpointTensor {
  std::string name;
  Shape shape;
  bool moments = false;
};

/// What a checkpoint holds and where.
struct Manifest {
  CheckpointInfo info;
  std::vector<CheckpointTensor> tensors;  // sorted by name
  std::vector<RankFileEntry> files;
};

inline constexpr std::string_view kManifestName = "manifest.textproto";

/// What one rank wrote: its file with slices that number `tensors`, the rank's own list.
struct RankReport {
  std::vector<CheckpointTensor> tensors;
  RankFileEntry file;
};
[[nodiscard]] std::string to_bytes(const RankReport& report);
[[nodiscard]] RankReport rank_report_from_bytes(std::string_view bytes);

/// Joins the ranks' reports. Throws Error naming the tensor where the ranks disagree about it.
[[nodiscard]] Manifest merge(const CheckpointInfo& info, std::span<const RankReport> reports);

/// Protobuf text whose last line is a comment with the CRC-32C of what stands before it.
[[nodiscard]] std::string to_text(const Manifest& manifest);
/// Throws InputError "name: place: reason" for another checksum, unknown fields, an unknown format version, and for what
/// require_complete refuses.
[[nodiscard]] Manifest parse_manifest(std::string_view text, const std::string& name);

/// Throws InputError unless file and tensor names are distinct and fit for a path, numbers are in range, and the slices
/// cover every tensor exactly once.
void require_complete(const Manifest& manifest, const std::string& name);

}  // namespace halo::checkpoints
