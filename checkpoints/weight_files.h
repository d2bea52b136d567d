#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/safetensors.h"
#include "checkpoints/safetensors_writer.h"

namespace halo::checkpoints {

/// The weights of a model: a Hugging Face folder with model.safetensors or with model.safetensors.index.json and its
/// shards, or one .safetensors file. Memory-mapped; const calls are thread-safe.
class WeightFiles {
 public:
  /// Throws InputError with file, place and reason: no weights in the folder, a damaged file, an index whose shards are
  /// no plain names of .safetensors files in its own folder, are missing, or lack a tensor it lists.
  explicit WeightFiles(const std::filesystem::path& path);

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }  // sorted
  [[nodiscard]] bool contains(std::string_view name) const;
  /// Throws InputError naming the nearest tensor when there is none of this name; so do the calls below.
  [[nodiscard]] const StoredTensor& info(std::string_view name) const;
  /// See SafetensorsFile::read.
  void read(std::string_view name, const parallel::Region& region, TensorView out) const;
  [[nodiscard]] std::int64_t count_nonfinite(std::string_view name) const;
  /// Throws InputError naming the first tensor with a NaN or an infinity, and how many it has.
  void require_finite() const;

  [[nodiscard]] const std::vector<std::unique_ptr<SafetensorsFile>>& files() const {
    return files_;
  }
  [[nodiscard]] std::int64_t bytes() const;  // of all tensors

 private:
  void open_index(const std::filesystem::path& path);
  void open_single(const std::filesystem::path& path);
  [[nodiscard]] const SafetensorsFile& file_of(std::string_view name) const;

  std::string name_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, std::size_t, std::less<>> file_of_;  // index in files_, by tensor
  std::vector<std::string> names_;
};

/// Whether a folder holds a model's weights, by the names of its files.
[[nodiscard]] bool holds_weights(const std::filesystem::path& folder);

inline constexpr std::int64_t kDefaultShardBytes = 5'000'000'000;

/// Writes a model's weights into a folder (made when missing): model.safetensors when they fit `shard_bytes`, else
/// model-00001-of-0000N.safetensors in the order given and model.safetensors.index.json, written last. What an earlier
/// model left that a reader would take instead is removed. Throws as write_safetensors.
void write_weight_files(const std::filesystem::path& folder, std::span<const OutputTensor> tensors,
                        std::int64_t shard_bytes = kDefaultShardBytes);

}  // namespace halo::checkpoints
