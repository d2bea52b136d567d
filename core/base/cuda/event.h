#pragma once
#include <cuda_runtime_api.h>

#include "core/base/unique_handle.h"

namespace halo {

/// Of an event that is destroyed with its owner.
struct CudaEventTraits {
  using Raw = cudaEvent_t;
  static constexpr Raw kNull = nullptr;
  static void close(Raw event) noexcept { static_cast<void>(cudaEventDestroy(event)); }
};

}  // namespace halo
