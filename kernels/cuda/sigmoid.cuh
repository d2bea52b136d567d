#pragma once

namespace halo::kernels::cuda {

/// s = sigmoid(x) and 1 - s, each to full relative accuracy.
struct Sigmoid {
  __device__ explicit Sigmoid(float x) {
    const float e = expf(-x > 80.0f ? 80.0f : -x);  // finite; fminf would lose NaN
    s = 1.0f / (1.0f + e);
    complement = e * s;
  }
  float s, complement;
};

}  // namespace halo::kernels::cuda
