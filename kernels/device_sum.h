#pragma once
#include "core/base/tensor.h"

namespace halo::kernels {

inline void add_to(const TensorView& sum, double x) { *sum.as<double>() += x; }

/// What add(sum) adds to a `sum` (1) float64 on the stream's device, once it is there; 0 on the meta device.
template <class Add>
[[nodiscard]] double device_sum(Stream& stream, Add&& add) {
  double result = 0;
  if (stream.device() != Device::kCuda) {
    TensorView sum = view(&result, {1});
    sum.device = stream.device();
    add(sum);
    return result;
  }
  const Tensor sum = Tensor::zeros(stream, {1}, DType::kFloat64);
  add(sum.view());
  copy(view(&result, {1}), sum, stream);
  return result;
}

}  // namespace halo::kernels
