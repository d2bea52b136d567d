#pragma once
#include <array>
#include <memory>
#include <optional>
#include <span>

#include "checkpoints/background_task.h"
#include "checkpoints/checkpoint.h"
#include "checkpoints/checkpoint_save.h"
#include "checkpoints/snapshot.h"

namespace halo::checkpoints {

/// Saves checkpoints while training goes on: training waits for a copy of its state in host memory, from which a thread
/// of each rank writes that rank's file. The threads call no other rank. Whether they have ended and how rides along in a
/// sum over all ranks that every step takes anyway; when all have, they tell rank 0 what they wrote, whose thread writes
/// the manifest and names the folder. A failure of one drops the checkpoint on all.
///
/// One checkpoint is under way at most, and so one copy. The files are those of save_checkpoint. All ranks make the same
/// calls in the same order. When its owner is unwound, what is under way is given up and leaves a hidden folder.
class CheckpointSaver {
 public:
  /// `writers` must outlive it. `before_publish` is called on rank 0 before a checkpoint gets its name, by the thread that
  /// does it: what must be durable before the checkpoint is. What it throws drops the checkpoint.
  CheckpointSaver(std::filesystem::path root, const Retention& retention,
                  comm::Communicator& writers, std::function<void()> before_publish = {})
      : root_(std::move(root)),
        retention_(retention),
        writers_(writers),
        before_publish_(std::move(before_publish)) {}

  /// Begins to save a copy of the pieces, which may lie on the stream's device. None may be under way. A result is that of a
  /// checkpoint that failed at once, for lack of space or memory. Collective.
  std::optional<SaveResult> start(const CheckpointInfo& info,
                                  std::span<const CheckpointPiece> pieces, Stream& stream);
  /// Saves the pieces before it returns, without a copy of those in host memory. None may be under way. Collective.
  [[nodiscard]] SaveResult save(const CheckpointInfo& info, std::span<const CheckpointPiece> pieces,
                                Stream& stream);

  /// Of what gets its name from now on.
  void set_retention(const Retention& retention) { retention_ = retention; }
  [[nodiscard]] bool under_way() const { return save_ != nullptr; }
  /// What this rank gives to the sum: whether it is still at work, and whether it has failed.
  using Votes = std::array<double, 2>;
  [[nodiscard]] Votes votes() const;
  /// Goes on with what is under way by the sums of all ranks' votes, given since the last call of any other. A result is that
  /// of a checkpoint that has ended. Collective, though mostly there is nothing to do.
  std::optional<SaveResult> advance(const Votes& sums);
  /// Waits for the end of what is under way. Collective; throws PeerFailed when a rank is lost meanwhile.
  std::optional<SaveResult> wait();

  /// Of host memory that copies are kept in.
  [[nodiscard]] std::int64_t snapshot_bytes() const { return snapshot_.bytes(); }

 private:
  enum class Phase : std::uint8_t { kWriting, kPublishing };
  /// Takes the next phase once no rank is at work; a result at the end.
  std::optional<SaveResult> next_phase();
  SaveResult end();

  std::filesystem::path root_;
  Retention retention_;
  comm::Communicator& writers_;
  std::function<void()> before_publish_;
  Snapshot snapshot_;
  std::unique_ptr<CheckpointSave> save_;  // under way
  Phase phase_ = Phase::kWriting;
  double began_ = 0, stalled_ = 0;  // seconds
  BackgroundTask task_;             // last: it ends before what it works on
};

}  // namespace halo::checkpoints
