#pragma once
#include <cuda_runtime_api.h>

#include "core/base/error.h"

/// Runs one CUDA runtime call; throws Error naming the call and CUDA's own message.
#define HALO_CUDA_CHECK(call)                                               \
  do {                                                                      \
    if (const cudaError_t status_ = (call); status_ != cudaSuccess) {       \
      ::halo::fail(__FILE__, __LINE__, #call, cudaGetErrorString(status_)); \
    }                                                                       \
  } while (false)
