#include "data/token_file.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "core/base/hdf5.h"
#include "data/token_file_format.h"

namespace halo::data {
namespace {

/// Runs `body` inside libhdf5; what fails there is the file's fault.
template <class Body>
auto inside_hdf5(Body&& body) {
  const Hdf5Section section;
  try {
    return body();
  } catch (const InputError&) {
    throw;
  } catch (const Error& error) {
    throw InputError(error.what());
  }
}

/// A dataset of one axis, opened and found to be plain: stored in this file, by filters that libhdf5 brings along.
class Column {
 public:
  Column(hid_t file, const char* name, const std::string& path, std::size_t min_bytes,
         std::size_t max_bytes)
      : place_(str(path, ": /", name)) {
    check_link(file, name);
    dataset_ = hdf5_handle(H5Dopen2(file, name, H5P_DEFAULT), place_);
    const Hdf5Handle type = hdf5_handle(H5Dget_type(dataset_.get()), place_);
    const std::size_t bytes = H5Tget_size(type.get());
    HALO_REQUIRE_INPUT(
        H5Tget_class(type.get()) == H5T_INTEGER && H5Tget_sign(type.get()) == H5T_SGN_NONE &&
            bytes >= min_bytes && bytes <= max_bytes,
        str(place_, ": not unsigned integers of ", min_bytes * 8, " to ", max_bytes * 8, " bits"));
    const Hdf5Handle space = hdf5_handle(H5Dget_space(dataset_.get()), place_);
    HALO_REQUIRE_INPUT(H5Sget_simple_extent_ndims(space.get()) == 1,
                       place_ + ": not one-dimensional");
    hsize_t size = 0;
    hdf5_check(H5Sget_simple_extent_dims(space.get(), &size, nullptr), place_);
    HALO_REQUIRE_INPUT(size <= (hsize_t{1} << 60), str(place_, ": ", size, " elements"));
    size_ = static_cast<std::int64_t>(size);
    check_storage(bytes);
    check_stored(size, bytes);
  }

  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] const std::string& place() const { return place_; }

  /// Elements [begin, begin + count) as `type` of memory.
  void read(std::int64_t begin, std::size_t count, hid_t type, void* to) const {
    if (count == 0) return;
    const auto start = static_cast<hsize_t>(begin);
    const auto n = static_cast<hsize_t>(count);
    const Hdf5Handle space = hdf5_handle(H5Dget_space(dataset_.get()), place_);
    const Hdf5Handle memory = hdf5_handle(H5Screate_simple(1, &n, nullptr), place_);
    hdf5_check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &n, nullptr),
               place_);
    hdf5_check(H5Dread(dataset_.get(), type, memory.get(), space.get(), H5P_DEFAULT, to),
               str(place_, ": elements ", begin, " to ", begin + static_cast<std::int64_t>(count)));
  }

  /// Looks every chunk up, which reads the whole index of the file.
  void walk_chunks() const {
    for (std::int64_t begin = 0; chunk_ > 0 && begin < size_; begin += chunk_) {
      const auto offset = static_cast<hsize_t>(begin);
      unsigned mask = 0;
      haddr_t address = 0;
      hsize_t bytes = 0;
      hdf5_check(H5Dget_chunk_info_by_coord(dataset_.get(), &offset, &mask, &address, &bytes),
                 str(place_, ": chunk at ", begin));
      HALO_REQUIRE_INPUT(bytes <= 2 * kMaxChunkBytes,
                         str(place_, ": chunk at ", begin, " of ", bytes, " bytes"));
    }
  }

 private:
  void check_link(hid_t file, const char* name) const {
    HALO_REQUIRE_INPUT(H5Lexists(file, name, H5P_DEFAULT) > 0, place_ + ": missing");
    H5L_info_t link{};
    hdf5_check(H5Lget_info(file, name, &link, H5P_DEFAULT), place_);
    HALO_REQUIRE_INPUT(link.type == H5L_TYPE_HARD, place_ + ": a link to elsewhere");
    H5O_info_t object{};
    hdf5_check(H5Oget_info_by_name1(file, name, &object, H5P_DEFAULT), place_);
    HALO_REQUIRE_INPUT(object.type == H5O_TYPE_DATASET, place_ + ": not a dataset");
  }

  void check_storage(std::size_t element_bytes) {
    const Hdf5Handle layout = hdf5_handle(H5Dget_create_plist(dataset_.get()), place_);
    const H5D_layout_t kind = H5Pget_layout(layout.get());
    HALO_REQUIRE_INPUT(kind == H5D_CHUNKED || kind == H5D_CONTIGUOUS || kind == H5D_COMPACT,
                       place_ + ": stored in other files");
    HALO_REQUIRE_INPUT(H5Pget_external_count(layout.get()) == 0,
                       place_ + ": stored in other files");
    const int filters = H5Pget_nfilters(layout.get());
    for (int i = 0; i < filters; ++i) {
      std::size_t values = 0;
      unsigned flags = 0;
      const H5Z_filter_t filter = H5Pget_filter2(layout.get(), static_cast<unsigned>(i), &flags,
                                                 &values, nullptr, 0, nullptr, nullptr);
      HALO_REQUIRE_INPUT(filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE ||
                             filter == H5Z_FILTER_FLETCHER32,
                         str(place_, ": filter ", filter, " is not supported"));
    }
    if (kind != H5D_CHUNKED) return;
    hsize_t chunk = 0;
    HALO_REQUIRE_INPUT(H5Pget_chunk(layout.get(), 1, &chunk) == 1 && chunk >= 1 &&
                           chunk <= kMaxChunkBytes / element_bytes,
                       str(place_, ": chunks of ", chunk, " elements"));
    chunk_ = static_cast<std::int64_t>(chunk);
  }

  /// What was never written takes no room and reads as zeros: a small file must not claim memory without bounds.
  void check_stored(hsize_t size, std::size_t element_bytes) const {
    constexpr hsize_t kBestDeflate = 1032;  // source: zlib's technical details
    const hsize_t stored = H5Dget_storage_size(dataset_.get());
    HALO_REQUIRE_INPUT(size / kBestDeflate <= stored / element_bytes + 1,
                       str(place_, ": ", size, " elements in ", stored, " bytes"));
  }

  std::string place_;
  Hdf5Handle dataset_;
  std::int64_t size_ = 0;
  std::int64_t chunk_ = 0;  // 0: not chunked
};

Hdf5Handle open_file_of(const std::string& path) {
  const Hdf5Handle access = hdf5_handle(H5Pcreate(H5P_FILE_ACCESS), path);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  return hdf5_handle(file, str(path, ": not an HDF5 file that can be read"));
}

Hdf5Handle open_attribute(hid_t file, const char* name, const std::string& place) {
  HALO_REQUIRE_INPUT(H5Aexists(file, name) > 0, place + ": missing");
  Hdf5Handle attribute = hdf5_handle(H5Aopen(file, name, H5P_DEFAULT), place);
  const Hdf5Handle space = hdf5_handle(H5Aget_space(attribute.get()), place);
  HALO_REQUIRE_INPUT(H5Sget_simple_extent_npoints(space.get()) == 1, place + ": not one value");
  return attribute;
}

std::int64_t read_number(hid_t file, const char* name, const std::string& path) {
  const std::string place = str(path, ": attribute ", name);
  const Hdf5Handle attribute = open_attribute(file, name, place);
  const Hdf5Handle type = hdf5_handle(H5Aget_type(attribute.get()), place);
  HALO_REQUIRE_INPUT(H5Tget_class(type.get()) == H5T_INTEGER && H5Tget_size(type.get()) <= 8,
                     place + ": not a whole number");
  std::int64_t value = 0;  // what exceeds int64 becomes its largest value
  hdf5_check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), place);
  return value;
}

/// Fixed-length text, as this project writes it, or variable-length, as others do.
std::string read_text(hid_t file, const char* name, const std::string& path) {
  constexpr std::size_t kLongest = 4096;
  const std::string place = str(path, ": attribute ", name);
  const Hdf5Handle attribute = open_attribute(file, name, place);
  const Hdf5Handle type = hdf5_handle(H5Aget_type(attribute.get()), place);
  HALO_REQUIRE_INPUT(H5Tget_class(type.get()) == H5T_STRING, place + ": not text");
  if (H5Tis_variable_str(type.get()) > 0) {
    char* text = nullptr;
    hdf5_check(H5Aread(attribute.get(), type.get(), &text), place);
    const std::string value = text != nullptr ? std::string(text) : std::string();
    H5free_memory(text);
    return value;
  }
  const std::size_t size = H5Tget_size(type.get());
  HALO_REQUIRE_INPUT(size <= kLongest, str(place, ": text of ", size, " bytes"));
  std::string value(size, '\0');
  hdf5_check(H5Aread(attribute.get(), type.get(), value.data()), place);
  return value.substr(0, value.find('\0'));
}

TokenFileInfo read_info(hid_t file, const std::string& path) {
  const std::int64_t version = read_number(file, "format_version", path);
  HALO_REQUIRE_INPUT(
      version == kTokenFormatVersion,
      str(path, ": format_version ", version, ", this program reads ", kTokenFormatVersion));
  TokenFileInfo info;
  info.vocab_size = read_number(file, "vocab_size", path);
  HALO_REQUIRE_INPUT(
      info.vocab_size >= 1 && info.vocab_size <= std::numeric_limits<std::int32_t>::max(),
      str(path, ": attribute vocab_size: ", info.vocab_size, " tokens"));
  info.eos_token_id = read_number(file, "eos_token_id", path);
  HALO_REQUIRE_INPUT(info.eos_token_id >= -1 && info.eos_token_id < info.vocab_size,
                     str(path, ": attribute eos_token_id: ", info.eos_token_id,
                         " is past the vocabulary of ", info.vocab_size));
  info.tokenizer_sha256 = read_text(file, "tokenizer_sha256", path);
  return info;
}

}  // namespace

struct TokenFile::Impl {
  explicit Impl(const std::string& where)
      : path(where),
        file(open_file_of(where)),
        info(read_info(file.get(), where)),
        tokens(std::in_place, file.get(), kTokensName, where, 2, 4),
        documents(std::in_place, file.get(), kDocumentsName, where, 8, 8) {
    HALO_REQUIRE_INPUT(documents->size() >= 1, documents->place() + ": lacks the end");
  }

  void load_starts() {
    std::vector<std::uint64_t> values(static_cast<std::size_t>(documents->size()));
    documents->read(0, values.size(), H5T_NATIVE_UINT64, values.data());
    std::uint64_t least = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      HALO_REQUIRE_INPUT(values[i] >= least && (i > 0 || values[i] == 0),
                         str(documents->place(), '[', i, "]: ", values[i], " after ", least));
      least = values[i];
    }
    HALO_REQUIRE_INPUT(
        std::cmp_equal(least, tokens->size()),
        str(documents->place(), ": ends at ", least, ", /tokens at ", tokens->size()));
    starts.assign(values.begin(), values.end());
  }

  std::string path;
  Hdf5Handle file;
  TokenFileInfo info;
  std::optional<Column> tokens, documents;
  std::vector<std::int64_t> starts;  // once loaded; guarded, as everything here, by hdf5_mutex()
};

TokenFile::TokenFile(const std::filesystem::path& path)
    : impl_(inside_hdf5([&] { return std::make_unique<Impl>(path.string()); })) {}

TokenFile::~TokenFile() {
  const Hdf5Section section;
  impl_.reset();
}

std::string TokenFile::name() const { return impl_->path; }
const TokenFileInfo& TokenFile::info() const { return impl_->info; }
std::int64_t TokenFile::tokens() const { return impl_->tokens->size(); }
std::int64_t TokenFile::documents() const { return impl_->documents->size() - 1; }

void TokenFile::read(std::int64_t begin, std::span<std::int32_t> to) const {
  HALO_REQUIRE(begin >= 0 && begin <= tokens() && std::ssize(to) <= tokens() - begin,
               str(name(), ": tokens ", begin, " to ", begin + std::ssize(to), " of ", tokens()));
  // As uint32, since libhdf5 would clip what an int32 cannot hold.
  static_assert(sizeof(std::uint32_t) == sizeof(std::int32_t));
  inside_hdf5([&] { impl_->tokens->read(begin, to.size(), H5T_NATIVE_UINT32, to.data()); });
  for (std::size_t i = 0; i < to.size(); ++i) {
    const auto id = static_cast<std::uint32_t>(to[i]);
    HALO_REQUIRE_INPUT(std::cmp_less(id, impl_->info.vocab_size),
                       str(impl_->tokens->place(), ": token ", begin + static_cast<std::int64_t>(i),
                           " is id ", id, ", past the vocabulary of ", impl_->info.vocab_size));
  }
}

std::vector<std::int64_t> TokenFile::document_starts(std::int64_t begin, std::int64_t end) const {
  inside_hdf5([&] {
    if (impl_->starts.empty()) impl_->load_starts();
  });
  const std::vector<std::int64_t>& starts = impl_->starts;  // never changes once it is there
  const auto first = std::upper_bound(starts.begin(), starts.end(), begin);
  return {first, std::lower_bound(first, starts.end(), end)};
}

void TokenFile::verify(std::int64_t token_limit) const {
  (void)document_starts(0, 0);
  inside_hdf5([&] {
    impl_->documents->walk_chunks();
    impl_->tokens->walk_chunks();
  });
  std::vector<std::int32_t> buffer(kTokenChunk * 8);
  const std::int64_t end = std::min(tokens(), token_limit);
  for (std::int64_t begin = 0; begin < end; begin += std::ssize(buffer)) {
    const std::int64_t n = std::min(std::ssize(buffer), end - begin);
    read(begin, std::span(buffer).first(static_cast<std::size_t>(n)));
  }
}

}  // namespace halo::data
