#include "checkpoints/checkpoint.h"

#include <charconv>

#include "checkpoints/checkpoint_save.h"
#include "checkpoints/rank_file.h"
#include "core/base/clock.h"
#include "core/base/text.h"

namespace halo::checkpoints {
namespace {

constexpr const char* kValidationLoss = "validation_loss";

}  // namespace

std::optional<double> validation_loss(const CheckpointInfo& info) {
  const auto note = info.notes.find(kValidationLoss);
  if (note == info.notes.end()) return std::nullopt;
  double loss = 0;
  const char* const end = note->second.data() + note->second.size();
  const auto [read, error] = std::from_chars(note->second.data(), end, loss);
  return error == std::errc() && read == end ? std::optional(loss) : std::nullopt;
}

void note_validation_loss(CheckpointInfo& info, double loss) {
  info.notes[kValidationLoss] = formatted("%.17g", loss);
}

SaveResult save_checkpoint(const std::filesystem::path& root, const CheckpointInfo& info,
                           std::span<const CheckpointPiece> pieces, comm::Communicator& writers,
                           const Retention& retention) {
  const double begin = steady_seconds();
  CheckpointSave save(root, info, retention, writers);
  if (save.begin(rank_file_bytes(pieces))) {
    save.write(pieces);
    if (save.gather()) save.publish();
  }
  SaveResult result = save.finish();
  result.stalled = result.taken = steady_seconds() - begin;
  return result;
}

}  // namespace halo::checkpoints
