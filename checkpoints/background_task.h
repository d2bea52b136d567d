#pragma once
#include <chrono>
#include <functional>
#include <future>
#include <stop_token>
#include <thread>

namespace halo::checkpoints {

/// Work on a thread of its own, at most one at a time. Its end asks the work to stop and waits for it.
class BackgroundTask {
 public:
  /// Starts `work`, which must not throw. The task before it has been waited for.
  void start(std::function<void(const std::stop_token&)> work) {
    std::packaged_task<void(std::stop_token)> task(std::move(work));
    done_ = task.get_future();
    thread_ = std::jthread(std::move(task));
  }
  /// Whether there is no work, or it has ended: what it wrote is then visible to the caller.
  [[nodiscard]] bool done() const {
    return !done_.valid() || done_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  /// Waits for the end of the work; calls `poll` while it waits, and ends early with what that throws.
  template <class Poll>
  void wait(Poll&& poll) const {
    if (!done_.valid()) return;
    while (done_.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) poll();
  }

 private:
  std::future<void> done_;
  std::jthread thread_;  // last: it is joined before the rest goes
};

}  // namespace halo::checkpoints
