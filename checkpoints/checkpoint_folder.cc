#include "checkpoints/checkpoint_folder.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "checkpoints/agreement.h"
#include "checkpoints/checkpoint.h"
#include "checkpoints/manifest.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"

namespace halo::checkpoints {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step_";
constexpr std::string_view kWriting = ".writing";
constexpr std::string_view kDeleted = ".deleted";
constexpr std::string_view kReplaced = ".replaced";

std::string folder_name(std::int64_t step) {
  char text[32];
  std::snprintf(text, sizeof text, "step_%08lld", static_cast<long long>(step));
  return text;
}

/// The step of "step_00001000"; nothing for any other name.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  std::int64_t step = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  const bool ok = error == std::errc() && step >= 0 && folder_name(step) == name;
  return ok ? std::optional(step) : std::nullopt;
}

fs::path hidden(const fs::path& root, std::int64_t step, std::string_view state) {
  return root / str('.', folder_name(step), state);
}

void rename_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;
  throw Error(
      str("cannot rename ", from.string(), " to ", to.string(), ": ", std::strerror(errno)));
}

void remove_folder(const fs::path& folder) {
  std::error_code failure;
  fs::remove_all(folder, failure);
  if (failure) throw Error(str("cannot remove ", folder.string(), ": ", failure.message()));
}

std::vector<fs::path> entries(const fs::path& root) {
  std::error_code failure;
  std::vector<fs::path> found;
  fs::directory_iterator next(root, failure);
  while (!failure && next != fs::directory_iterator()) {
    found.push_back(next->path());
    next.increment(failure);
  }
  const bool missing = failure == std::errc::no_such_file_or_directory;
  HALO_REQUIRE_INPUT(!failure || missing, str(root.string(), ": ", failure.message()));
  return found;
}

/// Of a checkpoint whose manifest cannot be read there is none.
std::optional<double> validation_loss_of(const fs::path& folder) {
  try {
    const fs::path path = folder / kManifestName;
    return validation_loss(parse_manifest(read_file(path), path.string()).info);
  } catch (const InputError& error) {
    LOG(WARNING) << error.what();
    return std::nullopt;
  }
}

void remove_checkpoint(const fs::path& root, const fs::path& folder) {
  const fs::path doomed = hidden(root, checkpoint_step(folder), kDeleted);
  rename_folder(folder, doomed);
  remove_folder(doomed);
}

/// Puts `fresh` in the place of `old`, which stands as whole at any moment where the file system can exchange names. Returns
/// where the old one is then.
fs::path replace_folder(const fs::path& fresh, const fs::path& old, const fs::path& aside) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, old.c_str(), RENAME_EXCHANGE) == 0)
    return fresh;
  rename_folder(old, aside);
  try {
    rename_folder(fresh, old);
  } catch (const Error&) {
    rename_folder(aside, old);
    throw;
  }
  return aside;
}

}  // namespace

fs::path final_folder(const fs::path& root, std::int64_t step) { return root / folder_name(step); }

fs::path writing_folder(const fs::path& root, std::int64_t step) {
  return hidden(root, step, kWriting);
}

void begin_folder(const fs::path& root, std::int64_t step) {
  std::error_code failure;
  if (fs::create_directories(root, failure)) {
    sync_folder(root.has_parent_path() ? root.parent_path() : ".");
  }
  if (failure) throw Error(str("cannot make ", root.string(), ": ", failure.message()));
  remove_leftovers(root);
  const fs::path folder = writing_folder(root, step);
  if (!fs::create_directory(folder, failure)) {
    throw Error(str("cannot make ", folder.string(), ": ", failure.message()));
  }
}

std::string publish_folder(const fs::path& root, std::int64_t step) {
  const fs::path folder = final_folder(root, step);
  const fs::path aside = hidden(root, step, kReplaced);
  fs::path replaced;
  if (fs::exists(folder))
    replaced = replace_folder(writing_folder(root, step), folder, aside);
  else
    rename_folder(writing_folder(root, step), folder);
  return failure_of([&] {
    sync_folder(root);
    if (replaced.empty()) return;
    if (replaced != aside) rename_folder(replaced, aside);
    remove_folder(aside);
  });
}

void discard_folder(const fs::path& root, std::int64_t step) {
  remove_folder(writing_folder(root, step));
}

void remove_leftovers(const fs::path& root) {
  for (const fs::path& entry : entries(root)) {
    const std::string name = entry.filename().string();
    const std::size_t dot = name.rfind('.');
    if (!name.starts_with('.') || dot == 0) continue;
    const auto step = step_of(std::string_view(name).substr(1, dot - 1));
    const std::string_view state = std::string_view(name).substr(dot);
    if (!step || (state != kWriting && state != kDeleted && state != kReplaced)) continue;
    const bool unfinished_exchange = state == kReplaced && !fs::exists(final_folder(root, *step));
    if (unfinished_exchange) {
      rename_folder(entry, final_folder(root, *step));
    } else {
      remove_folder(entry);
    }
  }
}

void require_space(const fs::path& root, std::int64_t bytes) {
  struct statvfs space {};
  if (::statvfs(root.c_str(), &space) != 0 || space.f_blocks == 0) return;
  const double free = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize);
  HALO_REQUIRE(
      static_cast<double>(bytes) <= free,
      str("a checkpoint of ", human_bytes(static_cast<double>(bytes)), " does not fit into ",
          root.string(), ", where ", human_bytes(free), " are free: make room or lower keep_last"));
}

void prune_folders(const fs::path& root, std::int64_t step, const Retention& retention) {
  if (retention.keep_last <= 0) return;
  std::vector<KeptCheckpoint> stored;
  for (const fs::path& folder : find_checkpoints(root)) {
    stored.push_back(
        {checkpoint_step(folder), retention.keep_best ? validation_loss_of(folder) : std::nullopt});
  }
  for (const std::int64_t doomed : steps_to_remove(stored, step, retention)) {
    remove_checkpoint(root, final_folder(root, doomed));
  }
}

void remove_folders(const fs::path& root, std::int64_t after, std::int64_t before) {
  for (const fs::path& folder : find_checkpoints(root)) {
    const std::int64_t step = checkpoint_step(folder);
    if (after < step && step < before) remove_checkpoint(root, folder);
  }
}

std::int64_t checkpoint_step(const fs::path& folder) {
  return step_of(folder.filename().string()).value();
}

std::vector<fs::path> find_checkpoints(const fs::path& root) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  for (const fs::path& entry : entries(root)) {
    std::error_code failure;
    const auto step = step_of(entry.filename().string());
    if (step && fs::is_directory(entry, failure)) found.emplace_back(*step, entry);
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> folders;
  for (auto& [step, folder] : found) folders.push_back(std::move(folder));
  return folders;
}

}  // namespace halo::checkpoints
