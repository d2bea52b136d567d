#include "core/base/cuda_device.h"

#include <array>
#include <cstring>
#include <exception>

#include "core/base/cuda/check.h"
#include "core/base/cuda/event.h"
#include "core/base/cuda/strided_copy.h"
#include "core/base/rng.h"
#include "core/base/unique_handle.h"

namespace halo {
namespace {

struct StreamTraits {
  using Raw = cudaStream_t;
  static constexpr Raw kNull = nullptr;
  static void close(Raw stream) noexcept { static_cast<void>(cudaStreamDestroy(stream)); }
};

class CudaMark final : public DeviceMark {
 public:
  explicit CudaMark(cudaStream_t stream) {
    cudaEvent_t event = nullptr;
    HALO_CUDA_CHECK(cudaEventCreate(&event));
    event_ = UniqueHandle<CudaEventTraits>(event);
    HALO_CUDA_CHECK(cudaEventRecord(event, stream));
  }
  [[nodiscard]] double seconds_since(const DeviceMark& earlier) const override {
    HALO_CUDA_CHECK(cudaEventSynchronize(event_.get()));
    float ms = 0;
    HALO_CUDA_CHECK(cudaEventElapsedTime(&ms, static_cast<const CudaMark&>(earlier).event_.get(),
                                         event_.get()));
    return 1e-3 * static_cast<double>(ms);
  }

 private:
  UniqueHandle<CudaEventTraits> event_;
};

/// cudaMalloc's memory. Blocks are used by one stream, so those that are free need no wait.
class CudaAllocator final : public CachingAllocator {
 public:
  explicit CudaAllocator(int device) : device_(device) {}
  ~CudaAllocator() override { trim(); }

 private:
  [[nodiscard]] void* obtain(std::size_t bytes) override {
    void* block = nullptr;
    HALO_CUDA_CHECK(cudaSetDevice(device_));
    const cudaError_t status = cudaMalloc(&block, bytes);
    if (status == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());  // it is not sticky
      return nullptr;
    }
    HALO_CUDA_CHECK(status);
    return block;
  }
  void give_back(void* block) noexcept override { static_cast<void>(cudaFree(block)); }
  [[nodiscard]] std::size_t more_bytes() const override {
    std::size_t free = 0, total = 0;
    HALO_CUDA_CHECK(cudaSetDevice(device_));
    HALO_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return free;
  }

  int device_;
};

class PinnedAllocator final : public CachingAllocator {
 public:
  ~PinnedAllocator() override { trim(); }

 private:
  [[nodiscard]] void* obtain(std::size_t bytes) override {
    void* block = nullptr;
    const cudaError_t status = cudaMallocHost(&block, bytes);
    if (status == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());  // it is not sticky
      return nullptr;
    }
    HALO_CUDA_CHECK(status);
    return block;
  }
  void give_back(void* block) noexcept override { static_cast<void>(cudaFreeHost(block)); }
};

/// Page-locked memory through which small copies go to the GPU without a wait: two halves that are filled by turns, each
/// once the copies from it are done.
class Staging {
 public:
  static constexpr std::size_t kLargest = std::size_t{1} << 20;

  /// Waits by wait(event) where it must.
  template <class Wait>
  void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream, Wait&& wait) {
    if (memory_ == nullptr) open();
    if (used_ + bytes > kHalf) {
      HALO_CUDA_CHECK(cudaEventRecord(done_[half_].get(), stream));
      half_ = 1 - half_;
      used_ = 0;
      wait(done_[half_].get());
    }
    std::byte* const at = memory_.get() + half_ * kHalf + used_;
    std::memcpy(at, from, bytes);
    HALO_CUDA_CHECK(cudaMemcpyAsync(to, at, bytes, cudaMemcpyHostToDevice, stream));
    used_ += (bytes + 63) / 64 * 64;
  }

 private:
  static constexpr std::size_t kHalf = 4 * kLargest;
  struct Free {
    void operator()(std::byte* memory) const noexcept { static_cast<void>(cudaFreeHost(memory)); }
  };

  void open() {
    void* memory = nullptr;
    HALO_CUDA_CHECK(cudaMallocHost(&memory, 2 * kHalf));
    memory_.reset(static_cast<std::byte*>(memory));
    for (auto& event : done_) {
      cudaEvent_t made = nullptr;
      HALO_CUDA_CHECK(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
      event = UniqueHandle<CudaEventTraits>(made);
    }
  }

  std::unique_ptr<std::byte, Free> memory_;
  std::array<UniqueHandle<CudaEventTraits>, 2> done_;
  std::size_t half_ = 0, used_ = 0;
};

struct GraphTraits {
  using Raw = cudaGraph_t;
  static constexpr Raw kNull = nullptr;
  static void close(Raw graph) noexcept { static_cast<void>(cudaGraphDestroy(graph)); }
};

struct GraphExecTraits {
  using Raw = cudaGraphExec_t;
  static constexpr Raw kNull = nullptr;
  static void close(Raw graph) noexcept { static_cast<void>(cudaGraphExecDestroy(graph)); }
};

class CudaGraph final : public DeviceGraph {
 public:
  /// `wait` waits for all that is queued, and ends without an exception.
  CudaGraph(cudaGraph_t graph, cudaStream_t stream, std::unique_ptr<CachingAllocator::Arena> memory,
            std::function<void()> wait)
      : memory_(std::move(memory)), stream_(stream), wait_(std::move(wait)) {
    cudaGraphExec_t exec = nullptr;
    HALO_CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    exec_ = UniqueHandle<GraphExecTraits>(exec);
  }
  ~CudaGraph() override { wait_(); }
  void launch() override { HALO_CUDA_CHECK(cudaGraphLaunch(exec_.get(), stream_)); }

 private:
  std::unique_ptr<CachingAllocator::Arena> memory_;
  cudaStream_t stream_;
  std::function<void()> wait_;
  UniqueHandle<GraphExecTraits> exec_;
};

class CudaQueue final : public DeviceQueue {
 public:
  explicit CudaQueue(int device) : device_(device) {
    HALO_CUDA_CHECK(cudaSetDevice(device));
    cudaStream_t stream = nullptr;
    HALO_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    stream_ = UniqueHandle<StreamTraits>(stream);
  }
  ~CudaQueue() override {
    static_cast<void>(cudaStreamSynchronize(stream_.get()));
    drop_kept();
  }

  [[nodiscard]] std::shared_ptr<Allocator> make_allocator() override {
    auto made = std::make_shared<CudaAllocator>(device_);
    allocator_ = made;
    return made;
  }
  void synchronize() override {
    HALO_REQUIRE(!recording_, "work that waits for the GPU cannot be recorded");
    if (watcher()) return watched([this] { return cudaStreamQuery(stream_.get()); });
    HALO_CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
  }

  void copy(const TensorView& to, const TensorView& from) override {
    if (to.size() == 0) return;
    HALO_REQUIRE(!recording_ || to.device == from.device,
                 "copies from and to the host cannot be recorded");
    if (to.contiguous() && from.contiguous()) {
      const bool up = to.device == Device::kCuda && from.device == Device::kCpu;
      if (up && to.bytes() <= Staging::kLargest)
        return staging_.copy(to.data, from.data, to.bytes(), stream_.get(),
                             [this](cudaEvent_t event) { wait(event); });
      // The call below would wait for what is queued, and not be watched.
      if (to.device != from.device && watcher()) synchronize();
      HALO_CUDA_CHECK(
          cudaMemcpyAsync(to.data, from.data, to.bytes(), cudaMemcpyDefault, stream_.get()));
      if (to.device != from.device) synchronize();
      return;
    }
    HALO_REQUIRE(to.device == Device::kCuda && from.device == Device::kCuda,
                 "a copy between host and GPU wants dense views");
    strided_copy(to, from, stream_.get());
  }
  void fill_zero(const TensorView& to) override {
    HALO_CUDA_CHECK(cudaMemsetAsync(to.data, 0, to.bytes(), stream_.get()));
  }
  [[nodiscard]] std::unique_ptr<DeviceMark> mark() override {
    return std::make_unique<CudaMark>(stream_.get());
  }
  [[nodiscard]] std::unique_ptr<DeviceGraph> record(const std::function<void()>& work) override {
    const std::shared_ptr<CachingAllocator> allocator = allocator_.lock();
    HALO_REQUIRE(allocator != nullptr && !recording_, "one recording of a queue at a time");
    auto memory = std::make_unique<CachingAllocator::Arena>(allocator);
    // Relaxed: the allocator may ask for memory meanwhile.
    HALO_CUDA_CHECK(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeRelaxed));
    recording_ = true;
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    recording_ = false;
    cudaGraph_t raw = nullptr;
    const cudaError_t status = cudaStreamEndCapture(stream_.get(), &raw);
    const UniqueHandle<GraphTraits> graph(raw);
    if (failure != nullptr) {
      static_cast<void>(cudaGetLastError());  // what the failure left
      std::rethrow_exception(failure);
    }
    HALO_CUDA_CHECK(status);
    memory->close();
    return std::make_unique<CudaGraph>(graph.get(), stream_.get(), std::move(memory),
                                       [this] { wait_for_all(); });
  }
  [[nodiscard]] void* native() const override { return stream_.get(); }
  [[nodiscard]] int device() const override { return device_; }

 private:
  void wait(cudaEvent_t event) {
    if (watcher()) return watched([event] { return cudaEventQuery(event); });
    HALO_CUDA_CHECK(cudaEventSynchronize(event));
  }
  /// Also while an exception unwinds: what waits for lost ranks ends once the watcher has seen that they are.
  void wait_for_all() noexcept {
    while (watcher() && cudaStreamQuery(stream_.get()) == cudaErrorNotReady) {
      try {
        watcher()();
      } catch (const std::exception&) {  // who watches has thrown it before, or will again
      }
    }
    static_cast<void>(cudaStreamSynchronize(stream_.get()));
  }
  template <class Query>
  void watched(Query&& query) {
    cudaError_t status = query();
    for (; status == cudaErrorNotReady; status = query()) watcher()();
    HALO_CUDA_CHECK(status);
  }

  int device_;
  UniqueHandle<StreamTraits> stream_;
  Staging staging_;
  std::weak_ptr<CachingAllocator> allocator_;
  bool recording_ = false;
};

void require_device(int device) {
  const int count = cuda_device_count();
  HALO_REQUIRE(device >= 0 && device < count,
               str("GPU ", device, " was asked for; this process sees ", count));
}

}  // namespace

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

CudaDeviceProperties cuda_device_properties(int device) {
  require_device(device);
  cudaDeviceProp p{};
  HALO_CUDA_CHECK(cudaGetDeviceProperties(&p, device));
  return {p.name, p.totalGlobalMem, p.multiProcessorCount, 10 * p.major + p.minor,
          hash64({p.uuid.bytes, sizeof p.uuid.bytes})};
}

std::shared_ptr<Allocator> make_pinned_allocator() { return std::make_shared<PinnedAllocator>(); }

Stream make_cuda_stream(int device) {
  require_device(device);
  return Stream(std::make_unique<CudaQueue>(device));
}

}  // namespace halo
