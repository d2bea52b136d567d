#pragma once
#include <filesystem>
#include <string>
#include <system_error>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/error.h"

namespace halo::launch {

/// What a path given to inspect or verify holds, judged by its form alone.
enum class PathKind { kCheckpoint, kWeights, kTokenFile };

/// Throws InputError when there is nothing at the path.
[[nodiscard]] inline PathKind kind_of(const std::filesystem::path& path) {
  std::error_code missing;
  HALO_REQUIRE_INPUT(std::filesystem::exists(path, missing),
                     str(path.string(), ": no such file or folder"));
  if (checkpoints::holds_checkpoint(path)) return PathKind::kCheckpoint;
  return path.extension() == ".h5" ? PathKind::kTokenFile : PathKind::kWeights;
}

}  // namespace halo::launch
