#include "core/base/thread_pool.h"

#include <utility>

#include "core/base/error.h"

namespace halo {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` is no longer `old`: for some 50 us awake, since the next loop mostly comes within them and
/// waking a thread takes as long, then asleep.
template <class T>
void wait_for_change(const std::atomic<T>& value, T old) {
  constexpr int kLooks = 1000;
  for (int i = 0; i < kLooks; ++i) {
    if (value.load() != old) return;
    pause();
  }
  value.wait(old);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  HALO_REQUIRE(threads >= 1, str("a pool of ", threads, " threads"));
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  ++generation_;
  generation_.notify_all();
  workers_.clear();  // joins while what the workers read still lives
}

void ThreadPool::run(const std::function<void(int)>& body) {
  HALO_REQUIRE(!in_loop_.exchange(true), "a loop of a thread pool within a loop of the same");
  body_ = &body;
  pending_ = static_cast<int>(workers_.size());
  ++generation_;
  generation_.notify_all();
  call(0);
  for (int left = pending_.load(); left != 0; left = pending_.load())
    wait_for_change(pending_, left);
  in_loop_ = false;
  if (std::exception_ptr failure = std::exchange(failure_, nullptr))
    std::rethrow_exception(failure);
}

void ThreadPool::work(int thread) {
  std::uint32_t seen = 0;
  for (;;) {
    wait_for_change(generation_, seen);
    ++seen;  // loops are issued one at a time, so generations are seen one by one
    if (stop_) return;
    call(thread);
    if (--pending_ == 0) pending_.notify_one();
  }
}

void ThreadPool::call(int thread) noexcept {
  try {
    (*body_)(thread);
  } catch (...) {
    const std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

}  // namespace halo
