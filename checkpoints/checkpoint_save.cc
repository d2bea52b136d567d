#include "checkpoints/checkpoint_save.h"

#include <glog/logging.h>

#include <cstdio>

#include "checkpoints/agreement.h"
#include "checkpoints/checkpoint_folder.h"
#include "checkpoints/manifest.h"
#include "checkpoints/rank_file.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/progress_point.h"

namespace halo::checkpoints {
namespace {

namespace fs = std::filesystem;

std::string rank_file_name(int rank) {
  char text[32];
  std::snprintf(text, sizeof text, "rank_%05d.h5", rank);
  return text;
}

/// That rank 0 sees what the others wrote: their hosts might not share the folder.
void require_files(const fs::path& folder, const Manifest& manifest) {
  for (const RankFileEntry& file : manifest.files) {
    std::error_code failure;
    const std::uintmax_t bytes = fs::file_size(folder / file.name, failure);
    HALO_REQUIRE_INPUT(!failure && static_cast<std::int64_t>(bytes) == file.bytes,
                       str((folder / file.name).string(), ": ",
                           failure ? failure.message() : str(bytes, " of ", file.bytes, " bytes"),
                           ", as rank 0 sees it (is the output folder shared between all hosts?)"));
  }
}

/// For what must not fail a checkpoint that is decided.
template <class Work>
void warn_of_failure(const char* consequence, Work&& work) {
  const std::string failure = failure_of(work);
  LOG_IF(WARNING, !failure.empty()) << consequence << failure;
}

}  // namespace

CheckpointSave::CheckpointSave(fs::path root, CheckpointInfo info, const Retention& retention,
                               comm::Communicator& writers)
    : root_(std::move(root)), info_(std::move(info)), retention_(retention), writers_(writers) {}

/// In the step whose end is saved, whatever training does meanwhile.
void CheckpointSave::pass(std::string_view point) const { pass_point({point, info_.step - 1}); }

bool CheckpointSave::agree() {
  if (reason_.empty()) reason_ = first_failure(writers_, failure_);
  return reason_.empty();
}

bool CheckpointSave::begin(std::int64_t bytes, const std::string& failure) {
  writers_.all_reduce(view(&bytes, {1}), comm::ReduceOp::kSum).wait();
  failure_ = !failure.empty() ? failure : failure_of([&] {
    HALO_REQUIRE(info_.step >= 0, str("a checkpoint of step ", info_.step));
    if (writers_.rank() != 0) return;
    begin_folder(root_, info_.step);
    made_folder_ = true;
    require_space(root_, bytes);
  });
  if (!agree()) return false;
  pass("checkpoint_begun");
  return true;
}

void CheckpointSave::write(std::span<const CheckpointPiece> pieces, const std::stop_token& stop) {
  failure_ = failure_of([&] {
    const fs::path path = writing_folder(root_, info_.step) / rank_file_name(writers_.rank());
    report_ = to_bytes(write_rank_file(path, info_.dtype, pieces, stop));
    pass("checkpoint_file");
  });
}

bool CheckpointSave::gather() {
  reports_ = gather_texts(writers_, report_);
  return agree();
}

void CheckpointSave::publish(const std::function<void()>& first, const std::stop_token& stop) {
  if (writers_.rank() != 0) return;
  std::string afterwards;
  failure_ = failure_of([&] {
    if (first) first();
    afterwards = commit(stop);
  });
  if (failed()) return;
  if (!afterwards.empty()) {
    LOG(WARNING) << "the checkpoint " << final_folder(root_, info_.step).string()
                 << " is written, but might not survive a power failure, so that older ones stay: "
                 << afterwards;
    return;
  }
  warn_of_failure("older checkpoints stay: ",
                  [&] { prune_folders(root_, info_.step, retention_); });
}

std::string CheckpointSave::commit(const std::stop_token& stop) const {
  std::vector<RankReport> reports;
  for (const std::string& report : reports_) reports.push_back(rank_report_from_bytes(report));
  const Manifest manifest = merge(info_, reports);
  require_complete(manifest, "the pieces of all ranks");
  const fs::path folder = writing_folder(root_, info_.step);
  require_files(folder, manifest);
  pass("checkpoint_files");
  write_file_atomically(folder / kManifestName, to_text(manifest));
  pass("checkpoint_manifest");
  HALO_REQUIRE(!stop.stop_requested(), str(folder.string(), ": given up, since the job has ended"));
  return publish_folder(root_, info_.step);
}

SaveResult CheckpointSave::finish() {
  SaveResult result{agree(), final_folder(root_, info_.step), reason_, 0, 0};
  // What cannot be removed now is a leftover for the next one.
  if (made_folder_ && !result.saved)
    warn_of_failure("", [&] { discard_folder(root_, info_.step); });
  // Nobody returns while rank 0 still removes folders, so that a failure leaves nothing on any rank's return.
  writers_.barrier().wait();
  if (result.saved) pass("checkpoint_saved");
  return result;
}

}  // namespace halo::checkpoints
