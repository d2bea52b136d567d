#pragma once
#include <filesystem>
#include <string>

#include "core/base/stream.h"

namespace halo::launch {

/// The algorithms that a GPU's products take (kernels/matmul_choice.h), kept in files: a run's own, one a rank, which it
/// reads again when it goes on, and the user's, of what was found fastest on this machine. Nothing on the CPU.
class MatmulTables {
 public:
  /// Loads the run's tables, then the user's. For other products a stream of fixed sums takes the library's first algorithm,
  /// the same each time, and another one looks for the fastest. A damaged file is passed over with a warning.
  MatmulTables(const std::filesystem::path& run, int rank, Stream& stream);
  /// The user's alone, to be added to: for measurements.
  explicit MatmulTables(Stream& stream);

  /// Writes what has been added since, to the run's folder and, where the fastest were looked for, to the user's file. A
  /// file that cannot be written is warned of.
  void save();

  /// HALO_CACHE, or halo in XDG_CACHE_HOME or in ~/.cache; empty when none is set.
  [[nodiscard]] static std::filesystem::path user_file();

 private:
  void load(const std::filesystem::path& file);

  std::filesystem::path own_;  // empty: none
  bool finds_fastest_;
  std::string saved_;
  Stream& stream_;
};

}  // namespace halo::launch
