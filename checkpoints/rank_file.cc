#include "checkpoints/rank_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "checkpoints/memory_file.h"
#include "checkpoints/output_file.h"
#include "checkpoints/regions.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "core/base/hdf5.h"

namespace halo::checkpoints {
namespace {

hid_t native_type(DType dtype) {
  return dtype == DType::kFloat64 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_FLOAT;
}
hid_t file_type(DType dtype) { return dtype == DType::kFloat64 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE; }

std::array<hsize_t, Shape::kMaxRank> sizes_of(const Shape& shape) {
  std::array<hsize_t, Shape::kMaxRank> sizes{};
  for (int i = 0; i < shape.rank(); ++i) {
    sizes[static_cast<std::size_t>(i)] = static_cast<hsize_t>(shape[i]);
  }
  return sizes;
}

Hdf5Handle make_space(const Shape& shape) {
  return hdf5_handle(H5Screate_simple(shape.rank(), sizes_of(shape).data(), nullptr),
                     "H5Screate_simple");
}

std::array<TensorView, 3> values_of(const CheckpointPiece& piece) {
  return {piece.master, piece.m, piece.v};
}

void require_valid(const CheckpointPiece& piece, DType dtype) {
  const std::string where = str("the piece ", to_string(piece.region), " of '",
                                printable(piece.name), "' ", halo::to_string(piece.global_shape));
  HALO_REQUIRE(piece.global_shape.rank() >= 1 && addressable(piece.global_shape) &&
                   inside(piece.region, piece.global_shape),
               str(where, " is no part of it"));
  HALO_REQUIRE(!piece.name.empty() && piece.name != "." && piece.name != ".." &&
                   piece.name.find_first_of(std::string_view("/\0", 2)) == std::string::npos,
               str(where, ": this name is unfit for a file"));
  HALO_REQUIRE(piece.m.empty() == piece.v.empty(), str(where, ": one of m and v is missing"));
  for (const TensorView& values : values_of(piece)) {
    if (&values != &piece.master && values.empty()) continue;
    HALO_REQUIRE(values.device == Device::kCpu && values.dtype == dtype && values.contiguous() &&
                     values.shape == piece.region.shape,
                 str(where, ": its values are ", halo::to_string(values.shape), " of ",
                     dtype_name(values.dtype), ", wanted contiguous ", dtype_name(dtype),
                     " in host memory"));
  }
}

/// A dataset whose values are still to be written, at `offset` of the file.
struct PlannedValues {
  std::span<const std::byte> bytes;
  std::int64_t offset = 0;
};

void write_attribute(hid_t dataset, const char* name, const Shape& values) {
  const Hdf5Handle space = make_space({values.rank()});
  const Hdf5Handle attribute = hdf5_handle(
      H5Acreate2(dataset, name, H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT), "H5Acreate");
  hdf5_check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, values.dims().data()), "H5Awrite");
}

struct CreationProperties {
  Hdf5Handle link = hdf5_handle(H5Pcreate(H5P_LINK_CREATE), "H5Pcreate");
  Hdf5Handle dataset = hdf5_handle(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate");
  CreationProperties() {
    hdf5_check(H5Pset_create_intermediate_group(link.get(), 1), "H5Pset_create_intermediate_group");
    hdf5_check(H5Pset_layout(dataset.get(), H5D_CONTIGUOUS), "H5Pset_layout");
    hdf5_check(H5Pset_alloc_time(dataset.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time");
    hdf5_check(H5Pset_fill_time(dataset.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time");
    // The same state gives the same file, whatever the second it is written in.
    hdf5_check(H5Pset_obj_track_times(dataset.get(), false), "H5Pset_obj_track_times");
  }
};

/// Flock does not work on every shared file system, and nobody else writes these files.
Hdf5Handle without_locking() {
  Hdf5Handle access = hdf5_handle(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate");
  hdf5_check(H5Pset_file_locking(access.get(), false, true), "H5Pset_file_locking");
  return access;
}

PlannedValues create_dataset(hid_t file, const CreationProperties& properties,
                             const std::string& name, const CheckpointPiece& piece,
                             const TensorView& values) {
  const Hdf5Handle space = make_space(piece.region.shape);
  const Hdf5Handle dataset =
      hdf5_handle(H5Dcreate2(file, name.c_str(), file_type(values.dtype), space.get(),
                             properties.link.get(), properties.dataset.get(), H5P_DEFAULT),
                  "H5Dcreate");
  write_attribute(dataset.get(), "offset", piece.region.offset);
  write_attribute(dataset.get(), "global_shape", piece.global_shape);
  const haddr_t offset = H5Dget_offset(dataset.get());
  HALO_REQUIRE(offset != HADDR_UNDEF, str("HDF5 gave ", name, " no place"));
  return {{static_cast<const std::byte*>(values.data), values.bytes()},
          static_cast<std::int64_t>(offset)};
}

/// Everything but the values: HDF5 lays the file out and says where they belong.
std::vector<PlannedValues> lay_out(const std::string& path, std::span<const CheckpointPiece> pieces,
                                   RankReport& report) {
  const Hdf5Section section;
  // The driver over stdio takes a path as it is; the default one wants the file behind it to have a name.
  const Hdf5Handle access = without_locking();
  hdf5_check(H5Pset_fapl_stdio(access.get()), "H5Pset_fapl_stdio");
  const CreationProperties properties;
  const Hdf5Handle file =
      hdf5_handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), "H5Fcreate");
  std::vector<PlannedValues> planned;
  std::map<std::string, std::pair<std::size_t, std::size_t>> known;  // tensor, pieces so far
  for (const CheckpointPiece& piece : pieces) {
    const auto [place, fresh] = known.try_emplace(piece.name, report.tensors.size(), 0);
    const bool moments = !piece.m.empty();
    if (fresh) report.tensors.push_back({piece.name, piece.global_shape, moments});
    auto& [tensor, count] = place->second;
    HALO_REQUIRE(
        report.tensors[tensor].shape == piece.global_shape &&
            report.tensors[tensor].moments == moments,
        str("pieces of '", printable(piece.name), "' disagree about its shape or moments"));
    StoredSlice slice{tensor, piece.region, {}};
    const auto values = values_of(piece);
    for (std::size_t i = 0; i < (moments ? 3u : 1u); ++i) {
      const std::string name = dataset_name(piece.name, count, static_cast<Which>(i));
      planned.push_back(create_dataset(file.get(), properties, name, piece, values[i]));
    }
    ++count;
    report.file.slices.push_back(slice);
  }
  hdf5_check(H5Fflush(file.get(), H5F_SCOPE_LOCAL), "H5Fflush");
  return planned;
}

/// In blocks, so that a job that ends is not held up by a large tensor.
void write_values(OutputFile& file, const PlannedValues& values, const std::stop_token& stop) {
  constexpr std::size_t kBlock = 16 << 20;
  for (std::size_t done = 0; done < values.bytes.size(); done += kBlock) {
    HALO_REQUIRE(!stop.stop_requested(),
                 str(file.path().string(), ": given up, since the job has ended"));
    const std::size_t n = std::min(kBlock, values.bytes.size() - done);
    file.write_at(values.offset + static_cast<std::int64_t>(done), values.bytes.subspan(done, n));
  }
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  constexpr std::string_view kKey = "model name";
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kKey)) continue;
    const std::size_t value = line.find_first_not_of("\t :", kKey.size());
    return value == std::string::npos ? "" : printable(line.substr(value));
  }
  return "";
}

}  // namespace

std::string dataset_name(std::string_view tensor, std::size_t piece, Which which) {
  return str('/', tensor, '/', piece, '/', which_name(which));
}

FileSum sum_file(const std::filesystem::path& path) {
  const auto fail = [&] { throw InputError(str(path.string(), ": ", std::strerror(errno))); };
  std::FILE* const raw = std::fopen(path.c_str(), "rbe");
  if (raw == nullptr) fail();
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(raw, &std::fclose);
  std::setvbuf(file.get(), nullptr, _IONBF, 0);
  std::vector<std::byte> buffer(1 << 20);
  FileSum sum;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    sum.crc = crc32c(std::span(buffer).first(n), sum.crc);
    sum.bytes += static_cast<std::int64_t>(n);
  }
  if (std::ferror(file.get()) != 0) fail();
  return sum;
}

std::int64_t rank_file_bytes(std::span<const CheckpointPiece> pieces) {
  constexpr std::int64_t kOfHdf5 = 16 << 10;       // measured: under 3 KiB
  constexpr std::int64_t kOfOneDataset = 4 << 10;  // measured: under 2 KiB
  std::int64_t bytes = kOfHdf5;
  for (const CheckpointPiece& piece : pieces) {
    const std::int64_t datasets = piece.m.empty() ? 1 : 3;
    const auto name = static_cast<std::int64_t>(piece.name.size());
    bytes += datasets * (static_cast<std::int64_t>(piece.master.bytes()) + kOfOneDataset + name);
  }
  return bytes;
}

RankReport write_rank_file(const std::filesystem::path& path, DType dtype,
                           std::span<const CheckpointPiece> pieces, const std::stop_token& stop) {
  HALO_REQUIRE(dtype == DType::kFloat32 || dtype == DType::kFloat64,
               str("checkpoints hold float32 or float64, not ", dtype_name(dtype)));
  std::vector<CheckpointPiece> stored;
  for (const CheckpointPiece& piece : pieces) {
    if (piece.region.shape.elements() == 0) continue;
    require_valid(piece, dtype);
    stored.push_back(piece);
  }
  // libhdf5 works in memory and the values go past it: after a failed write, of a full disk, it can neither close its
  // file nor end the process without a crash. Its lock is held for a moment only this way, too.
  OutputFile file(path);
  file.reserve(rank_file_bytes(stored));
  RankReport report;
  const MemoryFile layout;
  const std::vector<PlannedValues> planned = lay_out(layout.path(), stored, report);
  auto next = planned.begin();
  for (StoredSlice& slice : report.file.slices)
    for (std::size_t i = 0; i < (report.tensors[slice.tensor].moments ? 3u : 1u); ++i)
      slice.crc[i] = crc32c((next++)->bytes);
  const std::int64_t bytes = layout.copy_to(file);
  for (const PlannedValues& values : planned) write_values(file, values, stop);
  file.truncate(bytes);
  file.sync();
  const FileSum sum = sum_file(path);
  report.file.name = path.filename().string();
  report.file.bytes = sum.bytes;
  report.file.crc = sum.crc;
  report.file.processor = processor_name();
  return report;
}

struct RankFile::Handles {
  Hdf5Handle file;
};

RankFile::RankFile(const std::filesystem::path& path)
    : name_(path.string()), handles_(std::make_unique<Handles>()) {
  const Hdf5Section section;
  const Hdf5Handle access = without_locking();
  const hid_t file = H5Fopen(name_.c_str(), H5F_ACC_RDONLY, access.get());
  HALO_REQUIRE_INPUT(file >= 0, str(name_, ": cannot be opened: ", hdf5_reason()));
  handles_->file = Hdf5Handle(file);
}

RankFile::RankFile(RankFile&&) noexcept = default;
RankFile& RankFile::operator=(RankFile&&) noexcept = default;

RankFile::~RankFile() {
  const Hdf5Section section;
  handles_.reset();
}

void RankFile::read(const std::string& dataset, const Shape& slice, const parallel::Region& part,
                    TensorView out) {
  const Hdf5Section section;
  const std::string where = str(name_, ": ", printable(dataset));
  try {
    const Hdf5Handle stored = hdf5_handle(
        H5Dopen2(handles_->file.get(), dataset.c_str(), H5P_DEFAULT), "cannot be opened");
    const Hdf5Handle space = hdf5_handle(H5Dget_space(stored.get()), "H5Dget_space");
    const Hdf5Handle type = hdf5_handle(H5Dget_type(stored.get()), "H5Dget_type");
    std::array<hsize_t, H5S_MAX_RANK> sizes{};
    const int rank = hdf5_check(H5Sget_simple_extent_ndims(space.get()), "its shape");
    hdf5_check(H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr), "its shape");
    const auto expected = sizes_of(slice);
    const bool same = rank == slice.rank() &&
                      std::equal(expected.begin(), expected.begin() + rank, sizes.begin());
    HALO_REQUIRE_INPUT(same, str("is not of shape ", halo::to_string(slice)));
    HALO_REQUIRE_INPUT(H5Tequal(type.get(), file_type(out.dtype)) > 0,
                       str("is not of ", dtype_name(out.dtype)));
    hdf5_check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, sizes_of(part.offset).data(),
                                   nullptr, sizes_of(part.shape).data(), nullptr),
               str("has no ", to_string(part)));
    const Hdf5Handle memory = make_space(part.shape);
    hdf5_check(H5Dread(stored.get(), native_type(out.dtype), memory.get(), space.get(), H5P_DEFAULT,
                       out.data),
               "cannot be read");
  } catch (const Error& error) {
    throw InputError(str(where, ": ", error.what()));
  }
}

}  // namespace halo::checkpoints
