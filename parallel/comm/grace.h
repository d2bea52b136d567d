#pragma once
#include <algorithm>
#include <chrono>

namespace halo::comm {

/// How long a process may wait for messages that nobody may answer: half a second at once, and no more than a tenth of its
/// time, so that one that lives on after a failure has as much for the next.
class Grace {
 public:
  using Clock = std::chrono::steady_clock;

  /// Takes down that it waited from `begin` to `end`. False when nothing is left.
  bool spend(Clock::time_point begin, Clock::time_point end) {
    spent_ = std::max(Clock::duration::zero(), spent_ - (begin - last_) / 10);
    spent_ += end - begin;
    last_ = end;
    return spent_ < kMost;
  }
  [[nodiscard]] Clock::duration spent() const { return spent_; }

 private:
  static constexpr std::chrono::milliseconds kMost{500};
  Clock::duration spent_{0};
  Clock::time_point last_{};
};

}  // namespace halo::comm
