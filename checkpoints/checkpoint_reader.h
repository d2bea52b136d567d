#pragma once
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "checkpoints/manifest.h"

namespace halo::checkpoints {

/// Reads any rectangle of any tensor of a checkpoint, whatever layout wrote it. Used by one thread at a time.
class CheckpointReader {
 public:
  /// Reads and validates the manifest and compares the size of every file. Throws InputError naming file and reason.
  explicit CheckpointReader(const std::filesystem::path& folder);
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;
  ~CheckpointReader();

  [[nodiscard]] const std::filesystem::path& folder() const;
  [[nodiscard]] const CheckpointInfo& info() const;
  [[nodiscard]] const Manifest& manifest() const;
  [[nodiscard]] const std::vector<CheckpointTensor>& tensors() const;  // sorted by name
  [[nodiscard]] bool contains(std::string_view name) const;
  /// Throws InputError naming the nearest tensor when there is none of this name.
  [[nodiscard]] const CheckpointTensor& tensor(std::string_view name) const;

  /// Reads a rectangle into `out` (host, shape region.shape, any floating dtype, may be strided); converted as
  /// convert.h says. A file is compared with its checksum before it is first opened, and the values of every stored
  /// rectangle that is read as a whole with theirs. Throws InputError for a damaged file, a missing tensor, moments of a
  /// tensor without, and a region outside of the tensor.
  void read(std::string_view name, Which which, const parallel::Region& region, TensorView out);

  /// Compares files number part, part + parts, ... with their checksums, so that several ranks share the work.
  void verify_files(int part = 0, int parts = 1);
  /// Says that other ranks have compared the files that this one has not, which reading then does not do again.
  void set_files_verified();
  /// Compares the values of every slice with their checksums. What verify_files passed fails here only when the writer
  /// was at fault.
  void verify_values();
  /// How many elements are NaN or infinite.
  [[nodiscard]] std::int64_t count_nonfinite(std::string_view name, Which which);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Called with a message for each damaged checkpoint that is passed over.
using WarnCallback = std::function<void(const std::string&)>;

/// The newest checkpoint of a folder whose manifest and files are all whole; null when the folder has no checkpoint.
/// Throws InputError when it has some and none is good, which is no reason to begin from nothing.
[[nodiscard]] std::unique_ptr<CheckpointReader> latest_good(const std::filesystem::path& root,
                                                            const WarnCallback& warn);
inline constexpr std::int64_t kAnyStep = std::numeric_limits<std::int64_t>::max();

/// What a rank does with a checkpoint: `accept` refuses it for all by throwing, whatever others there are; `load` reads
/// what this rank needs, and what it throws is damage.
struct LoadCallbacks {
  std::function<void(const CheckpointReader&)> accept;
  std::function<void(CheckpointReader&)> load;
};

/// The same on all ranks, which share the checking; `warn` is called on rank 0. One that a rank cannot load is passed over
/// like a damaged one, and the one before is loaded in its place. Checkpoints of later steps than `newest_step` count as
/// not there. Collective.
[[nodiscard]] std::unique_ptr<CheckpointReader> latest_good(const std::filesystem::path& root,
                                                            const WarnCallback& warn,
                                                            comm::Communicator& ranks,
                                                            const LoadCallbacks& callbacks = {},
                                                            std::int64_t newest_step = kAnyStep);

/// Opens what a person names: a checkpoint's folder, or the newest good one of a folder of checkpoints or of a job's
/// folder (in its checkpoints/). Throws InputError when there is none.
[[nodiscard]] std::unique_ptr<CheckpointReader> open_checkpoint(const std::filesystem::path& path,
                                                                const WarnCallback& warn);
/// Whether open_checkpoint would look for one here.
[[nodiscard]] bool holds_checkpoint(const std::filesystem::path& path);

}  // namespace halo::checkpoints
