#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/file.h"
#include "core/base/tensor_view.h"
#include "parallel/region.h"

namespace halo::checkpoints {

/// One tensor of a safetensors file: dense, row-major, little-endian, at [begin, end) of the file's bytes.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  Shape shape;
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
};

/// Reads and validates the header of a whole safetensors file. Every length is checked against `file` before use.
///
/// Throws  InputError "name: place: reason" unless the header is a JSON object of at most 100 MB that gives each tensor
///         exactly a dtype this project has (F64 F32 BF16 F16 I64 I32 U32 U16 U8), a shape of up to 5 axes and its
///         offsets, under distinct names, and the tensors fill the rest of the file without hole or overlap.
/// Source  the format's description at huggingface/safetensors; what is accepted is written in FORMAT.md.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                                         const std::string& name);

/// "F32" and so on: a dtype's name within safetensors files.
[[nodiscard]] std::string_view safetensors_dtype(DType dtype);

/// One safetensors file, memory-mapped: only what is read is loaded. Const calls are thread-safe.
class SafetensorsFile {
 public:
  /// Throws InputError as parse_safetensors_header, and when the file cannot be read.
  explicit SafetensorsFile(const std::filesystem::path& path);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const { return header_.tensors; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const {
    return header_.metadata;
  }
  [[nodiscard]] bool contains(std::string_view tensor) const;
  /// Throws InputError naming the nearest tensor when there is none of this name.
  [[nodiscard]] const StoredTensor& tensor(std::string_view tensor) const;
  /// The tensor's bytes in the map, perhaps unaligned; valid as long as this object.
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view tensor) const;

  /// Reads a rectangle of a tensor into `out` (shape region.shape, host, may be strided), converting the dtype as
  /// convert.h says. Throws InputError for a missing tensor, a region outside of it, or integers read as floats.
  void read(std::string_view tensor, const parallel::Region& region, TensorView out) const;
  /// How many elements are NaN or infinite.
  [[nodiscard]] std::int64_t count_nonfinite(std::string_view tensor) const;

 private:
  [[nodiscard]] TensorView view_of(const StoredTensor& stored) const;

  std::string name_;
  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t, std::less<>> index_;  // of header_.tensors, by name
};

}  // namespace halo::checkpoints
