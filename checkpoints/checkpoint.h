#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints/retention.h"
#include "core/base/tensor_view.h"
#include "parallel/comm/communicator.h"
#include "parallel/region.h"

namespace halo::checkpoints {

/// A rectangle of a named tensor's training state. The views are contiguous host memory of region.shape and the
/// checkpoint's dtype; m and v are both there or both empty (weights only).
struct CheckpointPiece {
  std::string name;    // the Hugging Face name
  Shape global_shape;  // of the whole tensor, unpadded, 1 to 5 axes
  parallel::Region region;
  TensorView master, m, v;
};

struct CheckpointInfo {
  std::int64_t step = 0;        // optimizer steps done; names the folder
  std::int64_t adam_steps = 0;  // AdamW's own count
  std::string config_text;
  std::string stage;
  DType dtype = DType::kFloat32;  // of masters and moments: float32 or float64
  std::vector<std::pair<std::int64_t, std::int64_t>> skipped;  // steps [begin, end) left out
  std::map<std::string, std::string> notes;                    // the teacher's path and hash, ...
};

/// The validation loss of these weights, kept among the notes; nothing when none was noted.
[[nodiscard]] std::optional<double> validation_loss(const CheckpointInfo& info);
void note_validation_loss(CheckpointInfo& info, double loss);

struct SaveResult {
  bool saved = false;
  std::filesystem::path folder;  // where the checkpoint is, or would have been
  std::string reason;  // of a failure: "rank 3: cannot write ...: No space left on device"
  // Of the checkpoint, as this rank saw it, in seconds: how long its training stood still for it, and from the begin until
  // all knew of its end.
  double stalled = 0, taken = 0;
};

/// Saves a training checkpoint as root/step_00001000/: every rank of `writers` writes its pieces to a file of its own,
/// then rank 0 writes the manifest and renames the folder into place. FORMAT.md describes the files.
///
/// Collective over `writers`; `root` is one folder that all of them see, made when missing. Together the pieces of all
/// ranks hold each element of each tensor exactly once; a rank may have none. Step and dtype are the same on all ranks, the
/// rest of `info` is that of rank 0. The pieces are read until the call returns.
///
/// A failure of any rank (a full disk, pieces that leave a hole) drops this checkpoint on all ranks: every rank gets the
/// same result with `saved` false, earlier checkpoints stay, nothing of this one does. A checkpoint of the same step is
/// replaced only by a whole new one. Nothing is written when there is no room for all of it. Afterwards what `retention`
/// keeps remains, and leftovers of earlier crashes are gone.
/// Throws PeerFailed when a rank is lost.
[[nodiscard]] SaveResult save_checkpoint(const std::filesystem::path& root,
                                         const CheckpointInfo& info,
                                         std::span<const CheckpointPiece> pieces,
                                         comm::Communicator& writers,
                                         const Retention& retention = {});

/// The checkpoints in a folder, newest first; none when there is no such folder. Their content is not looked at.
[[nodiscard]] std::vector<std::filesystem::path> find_checkpoints(
    const std::filesystem::path& root);

}  // namespace halo::checkpoints
