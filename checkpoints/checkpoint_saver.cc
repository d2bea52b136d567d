#include "checkpoints/checkpoint_saver.h"

#include <algorithm>

#include "checkpoints/agreement.h"
#include "checkpoints/rank_file.h"
#include "core/base/clock.h"

namespace halo::checkpoints {
namespace {

/// Adds the time until its end.
class StallClock {
 public:
  explicit StallClock(double& seconds) : seconds_(seconds) {}
  StallClock(const StallClock&) = delete;
  StallClock& operator=(const StallClock&) = delete;
  ~StallClock() { seconds_ += steady_seconds() - begin_; }

 private:
  double& seconds_;
  double begin_ = steady_seconds();
};

}  // namespace

std::optional<SaveResult> CheckpointSaver::start(const CheckpointInfo& info,
                                                 std::span<const CheckpointPiece> pieces,
                                                 Stream& stream) {
  HALO_REQUIRE(!under_way(), "a checkpoint is still under way");
  began_ = steady_seconds();
  stalled_ = 0;
  std::span<const CheckpointPiece> copied;
  bool begun = false;
  {
    const StallClock clock(stalled_);
    save_ = std::make_unique<CheckpointSave>(root_, info, retention_, writers_);
    const std::string failure = failure_of([&] { copied = snapshot_.take(pieces, stream); });
    begun = save_->begin(rank_file_bytes(pieces), failure);
  }
  if (!begun) return end();
  phase_ = Phase::kWriting;
  task_.start([this, copied](const std::stop_token& stop) { save_->write(copied, stop); });
  return std::nullopt;
}

SaveResult CheckpointSaver::save(const CheckpointInfo& info,
                                 std::span<const CheckpointPiece> pieces, Stream& stream) {
  const bool on_host = std::ranges::all_of(
      pieces, [](const CheckpointPiece& p) { return p.master.device == Device::kCpu; });
  if (!on_host) {
    const std::optional<SaveResult> failed = start(info, pieces, stream);
    return failed ? *failed : wait().value();
  }
  HALO_REQUIRE(!under_way(), "a checkpoint is still under way");
  began_ = steady_seconds();
  stalled_ = 0;
  {
    const StallClock clock(stalled_);
    save_ = std::make_unique<CheckpointSave>(root_, info, retention_, writers_);
    if (save_->begin(rank_file_bytes(pieces))) {
      save_->write(pieces);
      if (save_->gather()) save_->publish(before_publish_);
    }
  }
  return end();
}

CheckpointSaver::Votes CheckpointSaver::votes() const {
  if (!under_way()) return {0, 0};
  if (!task_.done()) return {1, 0};
  return {0, save_->failed() ? 1.0 : 0.0};
}

std::optional<SaveResult> CheckpointSaver::advance(const Votes& sums) {
  if (!under_way() || sums[0] > 0) return std::nullopt;
  if (sums[1] > 0) return end();
  return next_phase();
}

std::optional<SaveResult> CheckpointSaver::wait() {
  std::optional<SaveResult> result;
  while (under_way() && !result) {
    {
      const StallClock clock(stalled_);
      task_.wait([this] { writers_.check(); });
    }
    result = next_phase();
  }
  return result;
}

std::optional<SaveResult> CheckpointSaver::next_phase() {
  if (phase_ == Phase::kPublishing) return end();
  bool gathered = false;
  {
    const StallClock clock(stalled_);
    gathered = save_->gather();
  }
  if (!gathered) return end();
  phase_ = Phase::kPublishing;
  save_->set_retention(retention_);
  task_.start([this](const std::stop_token& stop) { save_->publish(before_publish_, stop); });
  return std::nullopt;
}

SaveResult CheckpointSaver::end() {
  SaveResult result;
  {
    const StallClock clock(stalled_);
    result = save_->finish();
  }
  save_.reset();
  result.stalled = stalled_;
  result.taken = steady_seconds() - began_;
  return result;
}

}  // namespace halo::checkpoints
