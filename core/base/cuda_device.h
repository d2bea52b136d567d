#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/stream.h"

namespace halo {

/// GPUs that this process can use; 0 without a driver, and in a build without CUDA.
[[nodiscard]] int cuda_device_count();

struct CudaDeviceProperties {
  std::string name;
  std::size_t memory = 0;  // bytes
  int multiprocessors = 0;
  int compute_capability = 0;  // 90 for 9.0
  std::uint64_t id = 0;        // the same in all processes, on any host, that use this GPU
};
/// Throws Error when there is no such device.
[[nodiscard]] CudaDeviceProperties cuda_device_properties(int device);

/// A stream of a GPU, which becomes the calling thread's current device. Throws Error when there is no such device.
[[nodiscard]] Stream make_cuda_stream(int device);

/// Memory of the host that GPUs read and write by themselves, at the full rate of their links. Throws Error in a build
/// without CUDA.
[[nodiscard]] std::shared_ptr<Allocator> make_pinned_allocator();

}  // namespace halo
