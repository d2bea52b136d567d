#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "core/base/allocator.h"
#include "core/base/clock.h"
#include "core/base/device_queue.h"
#include "core/base/tensor_view.h"
#include "core/base/thread_pool.h"

namespace halo {

/// What one call of a kernel computes and moves.
struct KernelWork {
  enum class Kind : std::uint8_t { kMatmul, kAttention, kElementwise };
  std::string_view op;  // a literal
  Kind kind = Kind::kElementwise;
  double flops = 0;
  double bytes = 0;  // of its operands, each once
};

/// How a GPU sums where it has the choice: in one order, which gives the same bits each time, or in whichever is faster and
/// takes less memory. The CPU has one order.
enum class SumOrder : std::uint8_t { kFixed, kAny };

/// A moment in the order of a stream's work, to time what lies between two of them by the clock of the device.
class StreamMark {
 public:
  explicit StreamMark(std::unique_ptr<DeviceMark> of_queue)
      : clock_(of_queue == nullptr ? steady_seconds() : 0), of_queue_(std::move(of_queue)) {}
  /// Since `earlier`, a mark of the same stream. On a GPU waits until the work before this mark is done.
  [[nodiscard]] double seconds_since(const StreamMark& earlier) const {
    return of_queue_ == nullptr ? clock_ - earlier.clock_
                                : of_queue_->seconds_since(*earlier.of_queue_);
  }

 private:
  double clock_;  // without a queue, where calls complete before they return
  std::unique_ptr<DeviceMark> of_queue_;
};

/// Where a rank's kernels run: a device, the order of work on it, the threads that do it and the memory it takes its
/// temporaries from. On the CPU every call completes before it returns; on a GPU work is queued in order.
/// Issued to by one thread.
class Stream {
 public:
  /// A CPU stream with `threads` threads, the caller included.
  explicit Stream(int threads)
      : pool_(std::make_unique<ThreadPool>(threads)),
        allocator_(std::make_shared<CpuAllocator>()) {}

  /// A stream of the meta device, whose kernels call on_work instead of computing, in the place of one of `stands_for`.
  explicit Stream(std::function<void(const KernelWork&)> on_work, Device stands_for = Device::kCpu)
      : device_(Device::kMeta),
        stands_for_(stands_for),
        pool_(std::make_unique<ThreadPool>(1)),
        allocator_(std::make_shared<MetaAllocator>()),
        on_work_(std::move(on_work)) {}

  /// A stream of a GPU (core/base/cuda_device.h makes it). Host loops run on the caller.
  explicit Stream(std::unique_ptr<DeviceQueue> queue)
      : device_(Device::kCuda),
        pool_(std::make_unique<ThreadPool>(1)),
        queue_(std::move(queue)),
        allocator_(queue_->make_allocator()),
        host_(std::make_unique<Stream>(1)) {}

  [[nodiscard]] Device device() const { return device_; }
  /// The device that sizes are chosen for: of the meta device the one that it stands for.
  [[nodiscard]] Device stands_for() const {
    return device_ == Device::kMeta ? stands_for_ : device_;
  }
  /// A stream of host memory: this one, or the one that a GPU's stream has beside it.
  [[nodiscard]] Stream& host() { return host_ == nullptr ? *this : *host_; }
  /// The GPU's queue; of a GPU's stream alone.
  [[nodiscard]] DeviceQueue& queue() const { return *queue_; }
  void report(const KernelWork& work) const { on_work_(work); }
  [[nodiscard]] int threads() const { return pool_->threads(); }
  [[nodiscard]] const std::shared_ptr<Allocator>& allocator() const { return allocator_; }

  /// body(begin, end) over contiguous shares of [0, n), one share a thread; small loops (n * cost below about 16K
  /// element operations) stay on the caller. `cost` is the work of one item in element operations.
  template <class Body>
  void parallel_for(std::int64_t n, std::int64_t cost, Body&& body) {
    if (device_ == Device::kMeta) return;
    const std::int64_t shares =
        std::clamp<std::int64_t>(n * cost / kMinimumWork, 1,
                                 std::min<std::int64_t>(threads(), std::max<std::int64_t>(n, 1)));
    if (shares == 1) {
      body(std::int64_t{0}, n);
      return;
    }
    pool_->run([&](int thread) {
      if (thread < shares) body(n * thread / shares, n * (thread + 1) / shares);
    });
  }

  /// body(i) for each i in [0, n), in any order, each by whichever thread is free: for items of unequal cost.
  /// Results must not depend on the thread, so that bits repeat.
  template <class Body>
  void parallel_each(std::int64_t n, Body&& body) {
    if (device_ == Device::kMeta) return;
    std::atomic<std::int64_t> next = 0;
    const auto drain = [&](int) {
      for (std::int64_t i = next++; i < n; i = next++) body(i);
    };
    if (n <= 1 || threads() == 1) {
      drain(0);
    } else {
      pool_->run(drain);
    }
  }

  /// The same for items that need temporaries: body(i, memory) with `bytes` of memory, which each thread has of its own.
  template <class Body>
  void parallel_each(std::int64_t n, std::size_t bytes, Body&& body) {
    const auto workers = static_cast<std::size_t>(std::clamp<std::int64_t>(n, 1, threads()));
    const std::size_t stride = (bytes + 63) / 64 * 64;
    const AllocatorBlock memory(*allocator_, workers * stride);
    if (device_ == Device::kMeta) return;
    std::atomic<std::int64_t> next = 0;
    const auto drain = [&](int thread) {
      if (static_cast<std::size_t>(thread) >= workers) return;
      void* const own = memory.begin() + static_cast<std::size_t>(thread) * stride;
      for (std::int64_t i = next++; i < n; i = next++) body(i, own);
    };
    if (workers == 1) {
      drain(0);
    } else {
      pool_->run(drain);
    }
  }

  [[nodiscard]] StreamMark mark() const {
    return StreamMark(queue_ == nullptr ? nullptr : queue_->mark());
  }
  [[nodiscard]] SumOrder sum_order() const { return sum_order_; }
  void set_sum_order(SumOrder order) { sum_order_ = order; }

  /// Waits for all queued work. On the CPU there is none.
  void synchronize() {
    if (queue_ != nullptr) queue_->synchronize();
  }

 private:
  static constexpr std::int64_t kMinimumWork = 1 << 13;
  Device device_ = Device::kCpu;
  Device stands_for_ = Device::kCpu;  // of the meta device alone
  SumOrder sum_order_ = SumOrder::kFixed;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<DeviceQueue> queue_;  // of a GPU
  std::shared_ptr<Allocator> allocator_;
  std::unique_ptr<Stream> host_;  // of a GPU's stream
  std::function<void(const KernelWork&)> on_work_;
};

}  // namespace halo
