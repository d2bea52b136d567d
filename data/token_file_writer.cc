#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "core/base/file.h"
#include "core/base/hdf5.h"
#include "data/token_file.h"
#include "data/token_file_format.h"

namespace halo::data {
namespace {

Hdf5Handle make_dataset(hid_t file, const char* name, hid_t type, int deflate) {
  constexpr hsize_t kEmpty = 0;
  constexpr hsize_t kUnlimited = H5S_UNLIMITED;
  const Hdf5Handle space = hdf5_handle(H5Screate_simple(1, &kEmpty, &kUnlimited), name);
  const Hdf5Handle layout = hdf5_handle(H5Pcreate(H5P_DATASET_CREATE), name);
  const auto chunk = static_cast<hsize_t>(kTokenChunk);
  hdf5_check(H5Pset_chunk(layout.get(), 1, &chunk), name);
  hdf5_check(H5Pset_obj_track_times(layout.get(), false), name);  // equal input, equal bytes
  if (deflate > 0) {
    hdf5_check(H5Pset_shuffle(layout.get()), name);
    hdf5_check(H5Pset_deflate(layout.get(), static_cast<unsigned>(deflate)), name);
  }
  return hdf5_handle(
      H5Dcreate2(file, name, type, space.get(), H5P_DEFAULT, layout.get(), H5P_DEFAULT), name);
}

void append(hid_t dataset, std::int64_t at, hid_t type, const void* values, std::size_t count,
            const std::string& path) {
  const auto begin = static_cast<hsize_t>(at);
  const auto n = static_cast<hsize_t>(count);
  const hsize_t end = begin + n;
  hdf5_check(H5Dset_extent(dataset, &end), path);
  const Hdf5Handle file_space = hdf5_handle(H5Dget_space(dataset), path);
  const Hdf5Handle memory = hdf5_handle(H5Screate_simple(1, &n, nullptr), path);
  hdf5_check(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, &begin, nullptr, &n, nullptr),
             path);
  hdf5_check(H5Dwrite(dataset, type, memory.get(), file_space.get(), H5P_DEFAULT, values), path);
}

void write_number(hid_t file, const char* name, std::int64_t value) {
  const Hdf5Handle space = hdf5_handle(H5Screate(H5S_SCALAR), name);
  const Hdf5Handle attribute = hdf5_handle(
      H5Acreate2(file, name, H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT), name);
  hdf5_check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), name);
}

void write_text(hid_t file, const char* name, const std::string& value) {
  const Hdf5Handle type = hdf5_handle(H5Tcopy(H5T_C_S1), name);
  hdf5_check(H5Tset_size(type.get(), value.size() + 1), name);
  const Hdf5Handle space = hdf5_handle(H5Screate(H5S_SCALAR), name);
  const Hdf5Handle attribute =
      hdf5_handle(H5Acreate2(file, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), name);
  hdf5_check(H5Awrite(attribute.get(), type.get(), value.c_str()), name);
}

}  // namespace

struct TokenFileWriter::Impl {
  Impl(const std::filesystem::path& where, const TokenFileInfo& about)
      : path(where), temporary(where.string() + ".tmp" + std::to_string(::getpid())), info(about) {
    HALO_REQUIRE_INPUT(
        info.vocab_size >= 1 && info.vocab_size <= std::numeric_limits<std::int32_t>::max(),
        str(path.string(), ": a vocabulary of ", info.vocab_size, " tokens"));
    HALO_REQUIRE_INPUT(info.eos_token_id >= -1 && info.eos_token_id < info.vocab_size,
                       str(path.string(), ": eos_token_id ", info.eos_token_id,
                           " is past the vocabulary of ", info.vocab_size));
  }

  /// Apart from the constructor, so that the destructor cleans up what fails half-way.
  void create(int deflate) {
    HALO_REQUIRE_INPUT(deflate >= 0 && deflate <= 9, str("deflate level ", deflate));
    const Hdf5Section section;
    file = hdf5_handle(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                       str("cannot create ", temporary.string()));
    const bool small = info.vocab_size <= kSmallVocabulary;
    tokens = make_dataset(file.get(), kTokensName, small ? H5T_STD_U16LE : H5T_STD_U32LE, deflate);
    documents = make_dataset(file.get(), kDocumentsName, H5T_STD_U64LE, deflate);
    write_number(file.get(), "format_version", kTokenFormatVersion);
    write_number(file.get(), "vocab_size", info.vocab_size);
    write_number(file.get(), "eos_token_id", info.eos_token_id);
    write_text(file.get(), "tokenizer_sha256", info.tokenizer_sha256);
  }

  ~Impl() {
    if (finished) return;
    close();
    ::unlink(temporary.c_str());
  }

  void close() {
    const Hdf5Section section;
    tokens = {};
    documents = {};
    file = {};
  }

  void flush_tokens() {
    if (pending.empty()) return;
    const Hdf5Section section;
    append(tokens.get(), written, H5T_NATIVE_UINT32, pending.data(), pending.size(), message());
    written += std::ssize(pending);
    pending.clear();
  }

  void flush_documents() {
    if (starts.empty()) return;
    const Hdf5Section section;
    append(documents.get(), starts_written, H5T_NATIVE_UINT64, starts.data(), starts.size(),
           message());
    starts_written += std::ssize(starts);
    starts.clear();
  }

  void close_and_rename() {
    {
      const Hdf5Section section;
      hdf5_check(H5Fflush(file.get(), H5F_SCOPE_LOCAL), message());
    }
    close();
    const int fd = ::open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    if (fd >= 0) ::close(fd);
    const bool renamed = synced && ::rename(temporary.c_str(), path.c_str()) == 0;
    if (!renamed) throw Error(str(message(), ": ", std::strerror(errno)));
    finished = true;
    sync_folder(path.has_parent_path() ? path.parent_path() : ".");
  }

  [[nodiscard]] std::string message() const { return "cannot write " + path.string(); }

  std::filesystem::path path, temporary;
  TokenFileInfo info;
  Hdf5Handle file, tokens, documents;
  std::vector<std::uint32_t> pending;
  std::vector<std::uint64_t> starts;
  std::int64_t written = 0;
  std::int64_t starts_written = 0;
  bool finished = false;
};

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, const TokenFileInfo& info,
                                 int deflate)
    : impl_(std::make_unique<Impl>(path, info)) {
  impl_->create(deflate);
}
TokenFileWriter::~TokenFileWriter() = default;

std::int64_t TokenFileWriter::tokens() const { return impl_->written + std::ssize(impl_->pending); }
std::int64_t TokenFileWriter::documents() const {
  return impl_->starts_written + std::ssize(impl_->starts);
}

void TokenFileWriter::add_document(std::span<const std::int32_t> ids) {
  HALO_REQUIRE(!impl_->finished, "a document after finish()");
  for (const std::int32_t id : ids) {
    HALO_REQUIRE(id >= 0 && id < impl_->info.vocab_size,
                 str(impl_->path.string(), ": id ", id, " is past the vocabulary of ",
                     impl_->info.vocab_size));
  }
  impl_->starts.push_back(static_cast<std::uint64_t>(tokens()));
  if (impl_->starts.size() == kTokenChunk) impl_->flush_documents();
  for (const std::int32_t id : ids) {
    impl_->pending.push_back(static_cast<std::uint32_t>(id));
    if (impl_->pending.size() == kTokenChunk) impl_->flush_tokens();
  }
}

void TokenFileWriter::finish() {
  HALO_REQUIRE(!impl_->finished, "finish() a second time");
  impl_->flush_tokens();
  impl_->starts.push_back(static_cast<std::uint64_t>(tokens()));  // the end
  impl_->flush_documents();
  impl_->close_and_rename();
}

}  // namespace halo::data
