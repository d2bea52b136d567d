#pragma once
#include <cuda_runtime_api.h>

#include "core/base/tensor_view.h"

namespace halo {

/// Copies between views of one GPU, of equal shape and dtype and any strides; queued.
void strided_copy(const TensorView& to, const TensorView& from, cudaStream_t stream);

}  // namespace halo
