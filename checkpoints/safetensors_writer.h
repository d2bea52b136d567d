#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "core/base/tensor_view.h"
#include "parallel/region.h"

namespace halo::checkpoints {

/// A tensor to write: whole and in memory, or filled rectangle by rectangle so that it never has to be.
struct OutputTensor {
  std::string name;
  DType dtype = DType::kFloat32;  // in the file
  Shape shape;
  /// Host memory of `shape`, any dtype that converts (convert.h), may be strided; or empty, and `fill` is called.
  TensorView data;
  /// Writes the elements of a region into `out` (dense, of region.shape, of the file's dtype). Regions come once each,
  /// in row-major order.
  std::function<void(const parallel::Region& region, TensorView out)> fill;
};

/// Metadata that the transformers package asks for.
[[nodiscard]] std::map<std::string, std::string> default_metadata();

/// Writes one safetensors file: streamed to a temporary beside `path`, synced, renamed. The same tensors in any order
/// give the same bytes: they stand by falling element size, then by name, so that each is aligned.
/// Throws Error for names used twice, a dtype the format lacks, what `fill` throws, and the system's failures.
void write_safetensors(const std::filesystem::path& path, std::span<const OutputTensor> tensors,
                       const std::map<std::string, std::string>& metadata = default_metadata());

}  // namespace halo::checkpoints
