#include "core/base/cuda_device.h"

namespace halo {

// Of a build without CUDA.

int cuda_device_count() { return 0; }

CudaDeviceProperties cuda_device_properties(int device) {
  throw Error(str("GPU ", device, " was asked for, and this build has no CUDA"));
}

Stream make_cuda_stream(int device) {
  throw Error(str("GPU ", device, " was asked for, and this build has no CUDA"));
}

std::shared_ptr<Allocator> make_pinned_allocator() {
  throw Error("pinned memory was asked for, and this build has no CUDA");
}

}  // namespace halo
