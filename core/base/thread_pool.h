#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace halo {

/// A fixed number of threads that share loops. The caller is one of them, so a pool of 1 starts no thread. Loops are
/// issued by one thread at a time; waiting threads look around for a moment, then sleep.
class ThreadPool {
 public:
  /// Throws Error for fewer than 1 thread.
  explicit ThreadPool(int threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  [[nodiscard]] int threads() const { return static_cast<int>(workers_.size()) + 1; }
  /// Calls body(thread) once on every thread of the pool, thread = 0 (the caller) ... threads() - 1, and returns when
  /// all have. The first exception is thrown again here. Throws Error when called from within a loop of this pool.
  void run(const std::function<void(int thread)>& body);

 private:
  void work(int thread);
  void call(int thread) noexcept;

  std::vector<std::jthread> workers_;
  const std::function<void(int)>* body_ = nullptr;
  std::atomic<std::uint32_t> generation_ = 0;  // counts loops; workers wait for it to change
  std::atomic<int> pending_ = 0;               // workers still in the loop
  std::atomic<bool> stop_ = false;
  std::atomic<bool> in_loop_ = false;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

}  // namespace halo
