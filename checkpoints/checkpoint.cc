#include "checkpoints/checkpoint.h"

#include <glog/logging.h>

#include <cstdio>

#include "checkpoints/agreement.h"
#include "checkpoints/checkpoint_folder.h"
#include "checkpoints/manifest.h"
#include "checkpoints/rank_file.h"
#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::checkpoints {
namespace {

std::string rank_file_name(int rank) {
  char text[32];
  std::snprintf(text, sizeof text, "rank_%05d.h5", rank);
  return text;
}

/// That rank 0 sees what the others wrote: their hosts might not share the folder.
void require_files(const std::filesystem::path& folder, const Manifest& manifest) {
  for (const RankFileEntry& file : manifest.files) {
    std::error_code failure;
    const std::uintmax_t bytes = std::filesystem::file_size(folder / file.name, failure);
    HALO_REQUIRE_INPUT(!failure && static_cast<std::int64_t>(bytes) == file.bytes,
                       str((folder / file.name).string(), ": ",
                           failure ? failure.message() : str(bytes, " of ", file.bytes, " bytes"),
                           ", as rank 0 sees it (is the output folder shared between all hosts?)"));
  }
}

void commit(const std::filesystem::path& root, const CheckpointInfo& info,
            std::span<const std::string> rank_reports) {
  std::vector<RankReport> reports;
  for (const std::string& report : rank_reports) reports.push_back(rank_report_from_bytes(report));
  const Manifest manifest = merge(info, reports);
  require_complete(manifest, "the pieces of all ranks");
  const std::filesystem::path folder = writing_folder(root, info.step);
  require_files(folder, manifest);
  write_file_atomically(folder / kManifestName, to_text(manifest));
  publish_folder(root, info.step);
}

/// Nothing of a failed checkpoint stays; what cannot be removed now is a leftover for the next one.
void discard(const std::filesystem::path& root, std::int64_t step) {
  const std::string failure = failure_of([&] { discard_folder(root, step); });
  LOG_IF(WARNING, !failure.empty()) << failure;
}

void prune(const std::filesystem::path& root, std::int64_t step, int keep_last) {
  const std::string failure = failure_of([&] { prune_folders(root, step, keep_last); });
  LOG_IF(WARNING, !failure.empty()) << "older checkpoints stay: " << failure;
}

}  // namespace

SaveResult save_checkpoint(const std::filesystem::path& root, const CheckpointInfo& info,
                           std::span<const CheckpointPiece> pieces, comm::Communicator& writers,
                           int keep_last) {
  const bool first = writers.rank() == 0;
  SaveResult result{false, final_folder(root, info.step), {}};
  // Every phase ends with all ranks knowing whether all have done it; only rank 0 makes, renames and removes folders.
  std::string failure = failure_of([&] {
    HALO_REQUIRE(info.step >= 0, str("a checkpoint of step ", info.step));
    if (first) begin_folder(root, info.step);
  });
  result.reason = first_failure(writers, failure);
  if (!result.reason.empty()) return result;

  std::string report;
  failure = failure_of([&] {
    const auto path = writing_folder(root, info.step) / rank_file_name(writers.rank());
    report = to_bytes(write_rank_file(path, info.dtype, pieces));
  });
  const std::vector<std::string> reports = gather_texts(writers, report);
  result.reason = first_failure(writers, failure);

  if (result.reason.empty()) {
    failure = failure_of([&] {
      if (first) commit(root, info, reports);
    });
    result.reason = first_failure(writers, failure);
  }
  result.saved = result.reason.empty();
  if (first && !result.saved) discard(root, info.step);
  if (first && result.saved) prune(root, info.step, keep_last);
  // Nobody returns while rank 0 still removes folders, so that a failure leaves nothing on any rank's return.
  writers.barrier().wait();
  return result;
}

}  // namespace halo::checkpoints
