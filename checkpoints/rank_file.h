#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>

#include "checkpoints/checkpoint.h"
#include "checkpoints/manifest.h"
#include "core/base/tensor_view.h"

namespace halo::checkpoints {

struct FileSum {
  std::int64_t bytes = 0;
  std::uint32_t crc = 0;
};
/// Size and CRC-32C of a whole file, read in pieces. Throws InputError with the system's reason.
[[nodiscard]] FileSum sum_file(const std::filesystem::path& path);

/// Writes the pieces (those with elements) to a new HDF5 file, durably: dataset /NAME/K/master (and m, v) is the K-th
/// piece of the tensor NAME in this file. Throws Error for pieces that break CheckpointPiece's rules and for the
/// system's failures, and once `stop` asks for it; then a part of the file may be left.
[[nodiscard]] RankReport write_rank_file(const std::filesystem::path& path, DType dtype,
                                         std::span<const CheckpointPiece> pieces,
                                         const std::stop_token& stop = {});
/// A little more than the file of these pieces takes.
[[nodiscard]] std::int64_t rank_file_bytes(std::span<const CheckpointPiece> pieces);

/// A rank's file opened to read. Its caller has compared its checksum: libhdf5 does not stand damaged files.
class RankFile {
 public:
  explicit RankFile(const std::filesystem::path& path);
  RankFile(RankFile&&) noexcept;
  RankFile& operator=(RankFile&&) noexcept;
  ~RankFile();

  /// Reads `part`, in the slice's own coordinates, of a dataset of shape `slice` into dense `out` of the stored dtype.
  /// Throws InputError when the dataset is missing or has another shape or type.
  void read(const std::string& dataset, const Shape& slice, const parallel::Region& part,
            TensorView out);

 private:
  struct Handles;
  std::string name_;
  std::unique_ptr<Handles> handles_;
};

[[nodiscard]] std::string dataset_name(std::string_view tensor, std::size_t piece, Which which);

}  // namespace halo::checkpoints
