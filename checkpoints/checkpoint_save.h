#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/checkpoint.h"

namespace halo::checkpoints {

/// One checkpoint on its way to disk, in phases that every rank takes in this order: begin, write, gather, publish, finish.
/// Collective phases end with all ranks knowing whether all have done it, and return false once one has failed: finish then
/// follows. write and publish call no other rank, so that any thread may run them.
class CheckpointSave {
 public:
  /// `writers` must outlive it. See save_checkpoint.
  CheckpointSave(std::filesystem::path root, CheckpointInfo info, const Retention& retention,
                 comm::Communicator& writers);

  /// Rank 0 makes the folder, if there is room for the files of all ranks. `failure` is what went wrong on this rank before,
  /// `bytes` of its file. Collective.
  [[nodiscard]] bool begin(std::int64_t bytes, const std::string& failure = {});
  /// For publish.
  void set_retention(const Retention& retention) { retention_ = retention; }
  /// Writes this rank's file, durably, unless `stop` asks to give up.
  void write(std::span<const CheckpointPiece> pieces, const std::stop_token& stop = {});
  /// Whether `write` or `publish` failed on this rank.
  [[nodiscard]] bool failed() const { return !failure_.empty(); }
  /// Every rank tells what it wrote. Collective.
  [[nodiscard]] bool gather();
  /// On rank 0 calls `first`, whose failure is the checkpoint's, writes the manifest, gives the folder its name and removes
  /// what need not stay; nothing on other ranks.
  void publish(const std::function<void()>& first = {}, const std::stop_token& stop = {});
  /// How it went, the same on all ranks. Of a failed checkpoint nothing is left then. Collective.
  [[nodiscard]] SaveResult finish();

 private:
  void pass(std::string_view point) const;
  [[nodiscard]] bool agree();
  /// Returns what failed once the checkpoint had its name.
  [[nodiscard]] std::string commit(const std::stop_token& stop) const;

  std::filesystem::path root_;
  CheckpointInfo info_;
  Retention retention_;
  comm::Communicator& writers_;
  std::string failure_;               // of this rank
  std::string reason_;                // the first rank's failure, as all know it
  std::string report_;                // what this rank wrote
  std::vector<std::string> reports_;  // what all wrote
  bool made_folder_ = false;          // rank 0: there may be something to discard
};

}  // namespace halo::checkpoints
