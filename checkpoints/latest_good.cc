#include <system_error>

#include "checkpoints/agreement.h"
#include "checkpoints/checkpoint_folder.h"
#include "checkpoints/checkpoint_reader.h"
#include "core/base/error.h"

namespace halo::checkpoints {
namespace {

namespace fs = std::filesystem;

/// One way for one process and for many ranks: `agree` turns this rank's failure into that of all.
template <class Agree>
std::unique_ptr<CheckpointReader> first_good(const fs::path& root,
                                             const std::vector<fs::path>& candidates, int part,
                                             int parts, const Agree& agree,
                                             const WarnCallback& warn,
                                             const LoadCallbacks& callbacks) {
  std::string newest_failure;
  for (const fs::path& folder : candidates) {
    std::unique_ptr<CheckpointReader> reader;
    std::string failure = agree(failure_of([&] {
      reader = std::make_unique<CheckpointReader>(folder);
      reader->verify_files(part, parts);
    }));
    if (failure.empty()) {
      reader->set_files_verified();
      if (callbacks.accept) callbacks.accept(*reader);
      if (callbacks.load) failure = agree(failure_of([&] { callbacks.load(*reader); }));
    }
    if (failure.empty()) return reader;
    if (newest_failure.empty()) newest_failure = failure;
    if (part == 0 && warn) {
      warn(str("the checkpoint ", folder.string(), " is passed over: ", failure));
    }
  }
  HALO_REQUIRE_INPUT(candidates.empty(),
                     str(root.string(), ": none of its ", candidates.size(),
                         " checkpoints is whole; of the newest: ", newest_failure));
  return nullptr;
}

bool is_folder(const fs::path& path) {
  std::error_code missing;
  return fs::is_directory(path, missing);
}

bool has_manifest(const fs::path& path) {
  std::error_code missing;
  return fs::exists(path / kManifestName, missing);
}

/// The folder of checkpoints that `path` means.
fs::path root_of(const fs::path& path) {
  return is_folder(path / "checkpoints") ? path / "checkpoints" : path;
}

}  // namespace

std::unique_ptr<CheckpointReader> latest_good(const fs::path& root, const WarnCallback& warn) {
  const auto alone = [](const std::string& failure) { return failure; };
  return first_good(root, find_checkpoints(root), 0, 1, alone, warn, {});
}

std::unique_ptr<CheckpointReader> latest_good(const fs::path& root, const WarnCallback& warn,
                                              comm::Communicator& ranks,
                                              const LoadCallbacks& callbacks,
                                              std::int64_t newest_step) {
  // Rank 0 says which there are: another rank may see a folder earlier or later.
  std::string names;
  const std::string failure = failure_of([&] {
    if (ranks.rank() != 0) return;
    for (const fs::path& folder : find_checkpoints(root))
      if (checkpoint_step(folder) <= newest_step) names += folder.filename().string() + '\n';
  });
  const std::string unreadable = first_failure(ranks, failure);
  HALO_REQUIRE_INPUT(unreadable.empty(), unreadable);
  const std::string all = gather_texts(ranks, names).front();
  std::vector<fs::path> candidates;
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t end = all.find('\n', begin);
    candidates.push_back(root / all.substr(begin, end - begin));
    begin = end + 1;
  }
  const auto together = [&](const std::string& reason) { return first_failure(ranks, reason); };
  return first_good(root, candidates, ranks.rank(), ranks.size(), together, warn, callbacks);
}

std::unique_ptr<CheckpointReader> open_checkpoint(const fs::path& path, const WarnCallback& warn) {
  if (has_manifest(path)) return std::make_unique<CheckpointReader>(path);
  auto reader = latest_good(root_of(path), warn);
  HALO_REQUIRE_INPUT(reader != nullptr, str(path.string(), ": holds no checkpoint"));
  return reader;
}

bool holds_checkpoint(const fs::path& path) {
  return has_manifest(path) || (is_folder(path) && !find_checkpoints(root_of(path)).empty());
}

}  // namespace halo::checkpoints
