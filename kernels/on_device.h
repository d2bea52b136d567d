#pragma once
#include "core/base/stream.h"

/// The only place that knows whether CUDA was compiled in. Evaluates exactly one of the two calls; the front door has made
/// sure that there is a body for the stream's device.
#if HALO_CUDA_ENABLED
#define HALO_ON_DEVICE(stream, cpu_call, cuda_call) \
  ((stream).device() == ::halo::Device::kCuda ? (cuda_call) : (cpu_call))
#else
#define HALO_ON_DEVICE(stream, cpu_call, cuda_call) \
  (static_cast<void>(noexcept(cuda_call)), /* type-checked, never evaluated or linked */ (cpu_call))
#endif
