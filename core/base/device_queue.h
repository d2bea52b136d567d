#pragma once
#include <functional>
#include <map>
#include <memory>
#include <typeindex>

#include "core/base/allocator.h"
#include "core/base/tensor_view.h"

namespace halo {

/// A moment in the order of a queue's work.
class DeviceMark {
 public:
  DeviceMark() = default;
  DeviceMark(const DeviceMark&) = delete;
  DeviceMark& operator=(const DeviceMark&) = delete;
  virtual ~DeviceMark() = default;
  /// Seconds of the GPU's clock since `earlier`, a mark of the same queue. Waits until the work before this one is done.
  [[nodiscard]] virtual double seconds_since(const DeviceMark& earlier) const = 0;
};

/// Work of a queue that was recorded once and is queued again as a whole: one call of the host, however many kernels. It reads
/// and writes the same memory each time.
class DeviceGraph {
 public:
  DeviceGraph() = default;
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;
  virtual ~DeviceGraph() = default;  // waits for what is queued of it
  virtual void launch() = 0;
};

/// Work of one GPU in order: what Stream needs of it, so that nothing else knows of CUDA. A failure of work that is already
/// queued is thrown as Error by a later call.
class DeviceQueue {
 public:
  DeviceQueue() = default;
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;
  virtual ~DeviceQueue() = default;

  /// Memory of the GPU, used in the order of this queue.
  [[nodiscard]] virtual std::shared_ptr<Allocator> make_allocator() = 0;
  virtual void synchronize() = 0;
  /// Whatever waits on the host for this queue calls `poll` while it waits, and ends with what that throws: of work that
  /// needs other ranks, which may be gone. Null: nothing is called.
  void watch(std::function<void()> poll) { poll_ = std::move(poll); }
  /// Between views of equal shape and dtype, of which one may lie in host memory: that one is then dense, and read or
  /// written when the call returns. Small ones to the GPU do not wait for what is queued.
  virtual void copy(const TensorView& to, const TensorView& from) = 0;
  virtual void fill_zero(const TensorView& to) = 0;  // dense
  [[nodiscard]] virtual std::unique_ptr<DeviceMark> mark() = 0;
  /// What `work` queues here, recorded instead of queued. The graph keeps the memory that work took from the queue's
  /// allocator, all of which must be released by its end. Throws Error, with nothing queued, when it is not, and when work
  /// waits for the queue, copies from or to the host, or throws.
  [[nodiscard]] virtual std::unique_ptr<DeviceGraph> record(const std::function<void()>& work) = 0;
  /// What the kernels' bodies need: a cudaStream_t.
  [[nodiscard]] virtual void* native() const = 0;
  /// The GPU's number in this process.
  [[nodiscard]] virtual int device() const = 0;

  /// What kernels keep for this queue from call to call, such as a library's handle: made by `make`, which returns a
  /// std::shared_ptr<T>, when first asked for.
  template <class T, class Make>
  [[nodiscard]] T& kept(Make&& make) {
    std::shared_ptr<void>& slot = kept_[std::type_index(typeid(T))];
    if (slot == nullptr) slot = make();
    return *static_cast<T*>(slot.get());
  }

 protected:
  /// To be called first by destructors: what is kept may use the queue.
  void drop_kept() noexcept { kept_.clear(); }
  [[nodiscard]] const std::function<void()>& watcher() const { return poll_; }

 private:
  std::function<void()> poll_;
  std::map<std::type_index, std::shared_ptr<void>> kept_;
};

}  // namespace halo
