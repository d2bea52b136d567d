#include "checkpoints/checkpoint_reader.h"

#include <cstdio>
#include <map>
#include <optional>
#include <system_error>

#include "checkpoints/agreement.h"
#include "checkpoints/convert.h"
#include "checkpoints/rank_file.h"
#include "checkpoints/regions.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"

namespace halo::checkpoints {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlockElements = 4 << 20;  // read at once, to bound memory

std::string hex(std::uint32_t crc) {
  char text[16];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  return parse_manifest(read_file(path), path.string());
}

/// Where a slice lies: the piece-th slice of its tensor in a file.
struct Place {
  std::size_t file = 0;
  std::size_t piece = 0;
  const StoredSlice* slice = nullptr;
};

}  // namespace

struct CheckpointReader::Impl {
  explicit Impl(const fs::path& path)
      : folder(path),
        manifest(read_manifest(path)),
        places(manifest.tensors.size()),
        verified(manifest.files.size()),
        opened(manifest.files.size()) {
    for (std::size_t file = 0; file < manifest.files.size(); ++file) {
      std::map<std::size_t, std::size_t> pieces;
      for (const StoredSlice& slice : manifest.files[file].slices) {
        places[slice.tensor].push_back({file, pieces[slice.tensor]++, &slice});
      }
      require_size(file);
    }
    for (std::size_t i = 0; i < manifest.tensors.size(); ++i) index[manifest.tensors[i].name] = i;
  }

  [[nodiscard]] std::string file_name(std::size_t file) const {
    return (folder / manifest.files[file].name).string();
  }

  void require_size(std::size_t file) const {
    const std::string name = file_name(file);
    std::error_code failure;
    const std::uintmax_t bytes = fs::file_size(name, failure);
    HALO_REQUIRE_INPUT(!failure, str(name, ": ", failure.message()));
    require_sum(file, static_cast<std::int64_t>(bytes), manifest.files[file].crc);
  }

  void require_sum(std::size_t file, std::int64_t bytes, std::uint32_t crc) const {
    const RankFileEntry& entry = manifest.files[file];
    HALO_REQUIRE_INPUT(bytes == entry.bytes, str(file_name(file), ": has ", bytes,
                                                 " bytes, the manifest says ", entry.bytes));
    HALO_REQUIRE_INPUT(crc == entry.crc, str(file_name(file), ": is damaged: its CRC-32C is ",
                                             hex(crc), ", the manifest says ", hex(entry.crc)));
  }

  void verify(std::size_t file) {
    if (verified[file]) return;
    const FileSum sum = sum_file(file_name(file));
    require_sum(file, sum.bytes, sum.crc);
    verified[file] = true;
  }

  RankFile& open(std::size_t file) {
    if (!opened[file]) {
      verify(file);
      opened[file].emplace(file_name(file));
    }
    return *opened[file];
  }

  [[nodiscard]] std::size_t find(std::string_view name) const {
    if (const auto found = index.find(name); found != index.end()) return found->second;
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : manifest.tensors) names.push_back(tensor.name);
    const std::string nearest = nearest_name(name, names);
    throw InputError(str(folder.string(), ": holds no tensor '", printable(name), "'",
                         nearest.empty() ? "" : str(" (did you mean '", nearest, "'?)")));
  }

  /// Calls body(block, values) for the parts of `region` that lie in one slice, in bounded blocks of dense values. A slice
  /// that is read as a whole is compared with its checksum, at its end.
  template <class Body>
  void read_blocks(std::size_t tensor, const Place& place, Which which,
                   const parallel::Region& region, const Body& body) {
    const auto common = intersection(region, place.slice->region);
    if (!common) return;
    const std::string dataset = dataset_name(manifest.tensors[tensor].name, place.piece, which);
    const bool whole = common->shape == place.slice->region.shape;
    std::uint32_t crc = 0;
    for_each_block(*common, kBlockElements, [&](const parallel::Region& block) {
      const auto elements = static_cast<std::size_t>(block.shape.elements());
      buffer.resize(elements * dtype_size(manifest.info.dtype));
      const TensorView values(buffer.data(), manifest.info.dtype, block.shape);
      parallel::Region part = block;
      for (int axis = 0; axis < part.offset.rank(); ++axis) {
        part.offset[axis] -= place.slice->region.offset[axis];
      }
      open(place.file).read(dataset, place.slice->region.shape, part, values);
      if (whole) crc = crc32c({static_cast<const std::byte*>(values.data), values.bytes()}, crc);
      body(block, values);
    });
    if (whole) require_slice_sum(tensor, place, which, crc);
  }

  void require_slice_sum(std::size_t tensor, const Place& place, Which which,
                         std::uint32_t crc) const {
    const std::uint32_t expected = place.slice->crc[static_cast<std::size_t>(which)];
    HALO_REQUIRE_INPUT(crc == expected, str(file_name(place.file), ": ", which_name(which), " of '",
                                            printable(manifest.tensors[tensor].name), "' ",
                                            to_string(place.slice->region), ": its CRC-32C is ",
                                            hex(crc), ", the manifest says ", hex(expected)));
  }

  fs::path folder;
  Manifest manifest;
  std::map<std::string, std::size_t, std::less<>> index;
  std::vector<std::vector<Place>> places;  // by tensor
  std::vector<bool> verified;              // by file
  std::vector<std::optional<RankFile>> opened;
  std::vector<std::byte> buffer;
};

CheckpointReader::CheckpointReader(const fs::path& folder)
    : impl_(std::make_unique<Impl>(folder)) {}
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;
CheckpointReader::~CheckpointReader() = default;

const fs::path& CheckpointReader::folder() const { return impl_->folder; }
const CheckpointInfo& CheckpointReader::info() const { return impl_->manifest.info; }
const Manifest& CheckpointReader::manifest() const { return impl_->manifest; }
const std::vector<CheckpointTensor>& CheckpointReader::tensors() const {
  return impl_->manifest.tensors;
}
bool CheckpointReader::contains(std::string_view name) const {
  return impl_->index.find(name) != impl_->index.end();
}
const CheckpointTensor& CheckpointReader::tensor(std::string_view name) const {
  return tensors()[impl_->find(name)];
}

void CheckpointReader::read(std::string_view name, Which which, const parallel::Region& region,
                            TensorView out) {
  const std::size_t i = impl_->find(name);
  const CheckpointTensor& tensor = tensors()[i];
  const std::string where = str(folder().string(), ": tensor '", printable(name), "': ");
  HALO_REQUIRE_INPUT(which == Which::kMaster || tensor.moments,
                     str(where, "was saved without m and v"));
  HALO_REQUIRE_INPUT(
      inside(region, tensor.shape),
      str(where, "has shape ", halo::to_string(tensor.shape), ", wanted ", to_string(region)));
  HALO_REQUIRE(out.shape == region.shape, str(where, halo::to_string(region.shape), " read into ",
                                              halo::to_string(out.shape)));
  for (const Place& place : impl_->places[i]) {
    impl_->read_blocks(i, place, which, region,
                       [&](const parallel::Region& block, const TensorView& values) {
                         convert(part_of(out, region.offset, block), values, where);
                       });
  }
}

void CheckpointReader::verify_files(int part, int parts) {
  const std::size_t files = impl_->manifest.files.size();
  for (auto file = static_cast<std::size_t>(part); file < files;
       file += static_cast<std::size_t>(parts)) {
    impl_->verify(file);
  }
}

void CheckpointReader::set_files_verified() {
  impl_->verified.assign(impl_->verified.size(), true);
}

void CheckpointReader::verify_values() {
  for (std::size_t i = 0; i < tensors().size(); ++i) {
    const std::size_t stored = tensors()[i].moments ? 3 : 1;
    for (const Place& place : impl_->places[i]) {
      for (std::size_t k = 0; k < stored; ++k) {
        impl_->read_blocks(i, place, static_cast<Which>(k), place.slice->region,
                           [](const parallel::Region&, const TensorView&) {});
      }
    }
  }
}

std::int64_t CheckpointReader::count_nonfinite(std::string_view name, Which which) {
  const std::size_t i = impl_->find(name);
  std::int64_t count = 0;
  for (const Place& place : impl_->places[i]) {
    impl_->read_blocks(i, place, which, place.slice->region,
                       [&](const parallel::Region&, const TensorView& values) {
                         count += nonfinite_elements(values);
                       });
  }
  return count;
}

}  // namespace halo::checkpoints
