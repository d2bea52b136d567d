#include "checkpoints/weight_files.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <system_error>

#include "checkpoints/regions.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text.h"

namespace halo::checkpoints {
namespace {

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::uintmax_t kLargestIndex = 64 << 20;

bool is_file(const std::filesystem::path& path) {
  std::error_code missing;
  return std::filesystem::exists(path, missing) && !std::filesystem::is_directory(path, missing);
}

/// A shard is a plain file name, so that an index can neither point out of its folder nor at an index.
bool is_shard_name(std::string_view name) {
  return name.ends_with(".safetensors") && !name.starts_with('.') &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

std::string shard_name(std::size_t i, std::size_t shards) {
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", i + 1, shards);
  return text;
}

std::int64_t file_bytes(const OutputTensor& tensor) {
  return tensor.shape.elements() * static_cast<std::int64_t>(dtype_size(tensor.dtype));
}

/// Consecutive tensors of at most `limit` bytes together, or one tensor.
std::vector<std::span<const OutputTensor>> cut_in_shards(std::span<const OutputTensor> tensors,
                                                         std::int64_t limit) {
  std::vector<std::span<const OutputTensor>> shards;
  std::size_t begin = 0;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t next = file_bytes(tensors[i]);
    if (i > begin && bytes + next > limit) {
      shards.push_back(tensors.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += next;
  }
  shards.push_back(tensors.subspan(begin));
  return shards;
}

void write_shards(const std::filesystem::path& folder,
                  const std::vector<std::span<const OutputTensor>>& shards) {
  nlohmann::ordered_json index;
  std::int64_t total = 0;
  std::map<std::string, std::string> files;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = shard_name(i, shards.size());
    for (const OutputTensor& tensor : shards[i]) {
      total += file_bytes(tensor);
      HALO_REQUIRE(files.emplace(tensor.name, file).second,
                   str("two tensors named '", printable(tensor.name), "'"));
    }
    write_safetensors(folder / file, shards[i]);
  }
  index["metadata"]["total_size"] = total;
  index["weight_map"] = files;
  write_file_atomically(folder / kIndex, index.dump(2) + "\n");
}

}  // namespace

bool holds_weights(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / kSingle) || std::filesystem::exists(folder / kIndex);
}

WeightFiles::WeightFiles(const std::filesystem::path& path) : name_(path.string()) {
  std::error_code missing;
  HALO_REQUIRE_INPUT(std::filesystem::exists(path, missing),
                     str(name_, ": no such file or folder"));
  if (!std::filesystem::is_directory(path, missing)) {
    path.extension() == ".json" ? open_index(path) : open_single(path);
  } else if (is_file(path / kSingle)) {
    open_single(path / kSingle);
  } else if (is_file(path / kIndex)) {
    open_index(path / kIndex);
  } else {
    const bool pickled =
        is_file(path / "pytorch_model.bin") || is_file(path / "pytorch_model.bin.index.json");
    throw InputError(
        str(name_, ": holds neither ", kSingle, " nor ", kIndex,
            pickled ? " (pytorch_model.bin is not read: save it as safetensors)" : ""));
  }
}

void WeightFiles::open_single(const std::filesystem::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const StoredTensor& tensor : files_.front()->tensors()) file_of_[tensor.name] = 0;
  for (const auto& [name, file] : file_of_) names_.push_back(name);
}

void WeightFiles::open_index(const std::filesystem::path& path) {
  const std::string index_name = path.string();
  std::error_code unknown;
  const std::uintmax_t bytes = std::filesystem::file_size(path, unknown);
  HALO_REQUIRE_INPUT(!unknown && bytes <= kLargestIndex,
                     str(index_name, ": ", bytes, " bytes, above the limit of ", kLargestIndex));
  const nlohmann::json document = parse_json(read_file(path), index_name);
  const JsonValue weight_map = JsonValue(document, index_name).at("weight_map");
  weight_map.require_object();
  std::map<std::string, std::size_t> opened;
  for (const auto& [name, value] : weight_map.raw().items()) {
    const JsonValue entry(value, str(weight_map.place(), ": '", printable(name), "'"));
    const std::string& shard = entry.string();
    if (!is_shard_name(shard)) {
      entry.fail(str("'", printable(shard),
                     "' is no plain name of a .safetensors file in the folder of the index"));
    }
    const auto [known, fresh] = opened.emplace(shard, files_.size());
    if (fresh) files_.push_back(std::make_unique<SafetensorsFile>(path.parent_path() / shard));
    if (!files_[known->second]->contains(name)) {
      entry.fail(str("the shard ", printable(shard), " holds no such tensor"));
    }
    file_of_[name] = known->second;
    names_.push_back(name);
  }
  HALO_REQUIRE_INPUT(!names_.empty(), str(weight_map.place(), ": lists no tensor"));
  std::sort(names_.begin(), names_.end());
}

const SafetensorsFile& WeightFiles::file_of(std::string_view name) const {
  if (const auto found = file_of_.find(name); found != file_of_.end())
    return *files_[found->second];
  const std::string nearest = nearest_name(name, names_);
  throw InputError(str(name_, ": holds no tensor '", printable(name), "'",
                       nearest.empty() ? "" : str(" (did you mean '", printable(nearest), "'?)")));
}

bool WeightFiles::contains(std::string_view name) const {
  return file_of_.find(name) != file_of_.end();
}

const StoredTensor& WeightFiles::info(std::string_view name) const {
  return file_of(name).tensor(name);
}

void WeightFiles::read(std::string_view name, const parallel::Region& region,
                       TensorView out) const {
  file_of(name).read(name, region, out);
}

std::int64_t WeightFiles::count_nonfinite(std::string_view name) const {
  return file_of(name).count_nonfinite(name);
}

void WeightFiles::require_finite() const {
  for (const std::string& name : names_) {
    const std::int64_t bad = count_nonfinite(name);
    HALO_REQUIRE_INPUT(bad == 0,
                       str(file_of(name).name(), ": tensor '", printable(name), "': ", bad, " of ",
                           info(name).shape.elements(), " values are NaN or infinite"));
  }
}

std::int64_t WeightFiles::bytes() const {
  std::int64_t total = 0;
  for (const std::string& name : names_) {
    total += static_cast<std::int64_t>(info(name).end - info(name).begin);
  }
  return total;
}

void write_weight_files(const std::filesystem::path& folder, std::span<const OutputTensor> tensors,
                        std::int64_t shard_bytes) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) throw Error(str("cannot make ", folder.string(), ": ", failure.message()));
  const auto shards = cut_in_shards(tensors, shard_bytes);
  const bool single = shards.size() == 1;
  if (single) {
    write_safetensors(folder / kSingle, tensors);
  } else {
    write_shards(folder, shards);
  }
  std::filesystem::remove(folder / (single ? kIndex : kSingle), failure);
  if (failure) throw Error(str("cannot clear ", folder.string(), ": ", failure.message()));
}

}  // namespace halo::checkpoints
