#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halo::train {

struct GuardOptions {
  bool skip_nonfinite = true;  // a step that is not finite twice is skipped; false: it is a failure
  double spike_factor = 0.0;   // a loss above that many times the median is a spike; 0: none is
  std::int64_t spike_window = 50;   // accepted steps that the median is of
  std::int64_t rollback_after = 3;  // steps skipped in a row; 0: never
  std::int64_t max_rollbacks = 5;   // of a job
};

enum class Verdict : std::uint8_t {
  kAccept,
  kComputeAgain,  // the same step, once
  kSkip,          // the weights stay as they are; on to the next step
  kRollBack,      // to earlier weights; see StepGuard::rollback
  kFail,          // see StepGuard::reason
};

/// Steps [begin, end).
using StepRange = std::pair<std::int64_t, std::int64_t>;

/// What a guard knows, for a checkpoint.
struct GuardState {
  std::vector<StepRange> skipped;  // whose data the weights have not learned from; sorted, apart
  std::int64_t streak = 0;         // steps skipped in a row, up to now
  std::int64_t rollbacks = 0;
  std::int64_t rolled_back_to = -1;  // since then no step was accepted; -1: one was
  std::vector<double> losses;        // of the last accepted steps, spike_window of them at most

  [[nodiscard]] bool operator==(const GuardState&) const = default;
};
/// All of it but `skipped`, as JSON whose numbers read back exactly.
[[nodiscard]] std::string to_json(const GuardState& state);
/// Throws InputError "name: place: reason".
[[nodiscard]] GuardState parse_guard_state(std::string_view text, const std::string& name);

/// Decides what becomes of a step from its loss and gradient norm. A function of what it was told alone: ranks that are
/// told the same decide the same. A step is bad when a number is not finite or its loss is a spike. It is then computed
/// once more; bad again, it is skipped; rollback_after skipped in a row are a rollback, and max_rollbacks of those are all.
class StepGuard {
 public:
  explicit StepGuard(const GuardOptions& options) : options_(options) {}
  /// Goes on from a checkpoint.
  void restore(GuardState state);

  /// After each try of a step; steps come in order, a try that is to be computed again comes again.
  [[nodiscard]] Verdict judge(std::int64_t step, double loss, double grad_norm);
  /// Of the last judge that said kFail: what the trouble is and what to do.
  [[nodiscard]] const std::string& reason() const { return reason_; }

  struct Rollback {
    std::int64_t newest = 0;  // a checkpoint's step, at most
    std::int64_t next =
        0;  // the step to go on with: those from the checkpoint's to it are left out
  };
  /// After kRollBack.
  [[nodiscard]] const Rollback& rollback() const { return rollback_; }
  /// The weights are again those of a checkpoint of step `to`, which held `then`; 0 and an empty state are the first ones.
  void roll_back(GuardState then, std::int64_t to);

  /// Whether a rollback may come that wants the checkpoints there are: none should be removed now.
  [[nodiscard]] bool in_trouble() const {
    return options_.rollback_after > 0 && (state_.streak > 0 || state_.rolled_back_to >= 0);
  }
  [[nodiscard]] const GuardState& state() const { return state_; }

 private:
  [[nodiscard]] bool is_spike(double loss) const;
  void accept(double loss);
  [[nodiscard]] Verdict skip(std::int64_t step);

  GuardOptions options_;
  GuardState state_;
  bool second_try_ = false;
  Rollback rollback_;
  std::string reason_;
};

}  // namespace halo::train
