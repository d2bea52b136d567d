#pragma once
#include <cuda_runtime_api.h>

#include <utility>
#include <vector>

#include "core/base/cuda/check.h"
#include "core/base/cuda/event.h"

namespace halo::comm {

/// A point in the order of a stream.
class CudaEvent {
 public:
  CudaEvent() = default;
  explicit CudaEvent(cudaEvent_t raw) : raw_(raw) {}

  [[nodiscard]] explicit operator bool() const { return static_cast<bool>(raw_); }
  void record(cudaStream_t stream) const { HALO_CUDA_CHECK(cudaEventRecord(raw_.get(), stream)); }
  void hold(cudaStream_t stream) const {
    HALO_CUDA_CHECK(cudaStreamWaitEvent(stream, raw_.get(), 0));
  }
  [[nodiscard]] bool passed() const {
    const cudaError_t status = cudaEventQuery(raw_.get());
    if (status == cudaErrorNotReady) return false;
    HALO_CUDA_CHECK(status);
    return true;
  }
  /// Of two that have passed; negative when `other` came later.
  [[nodiscard]] double seconds_since(const CudaEvent& other) const {
    float ms = 0;
    HALO_CUDA_CHECK(cudaEventElapsedTime(&ms, other.raw_.get(), raw_.get()));
    return static_cast<double>(ms) * 1e-3;
  }

 private:
  UniqueHandle<CudaEventTraits> raw_;
};

/// Events that are used again.
class CudaEvents {
 public:
  /// One that `stream` will pass once it has done what is queued on it now.
  [[nodiscard]] CudaEvent record(cudaStream_t stream) {
    CudaEvent event;
    if (free_.empty()) {
      cudaEvent_t raw = nullptr;
      HALO_CUDA_CHECK(cudaEventCreate(&raw));
      event = CudaEvent(raw);
    } else {
      event = std::move(free_.back());
      free_.pop_back();
    }
    event.record(stream);
    return event;
  }
  void give_back(CudaEvent event) {
    if (event) free_.push_back(std::move(event));
  }

 private:
  std::vector<CudaEvent> free_;
};

}  // namespace halo::comm
