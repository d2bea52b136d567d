#include <algorithm>

#include "core/base/cuda/check.h"
#include "core/base/cuda/strided_copy.h"

namespace halo {
namespace {

constexpr int kThreads = 256;
constexpr int kAxes = Shape::kMaxRank;

/// Sizes and strides, padded with axes of size 1 in front.
struct Axes {
  std::int64_t dims[kAxes], to[kAxes], from[kAxes];
};

template <class Word>
__global__ void strided_copy_kernel(Word* to, const Word* from, Axes axes, std::int64_t count) {
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step) {
    std::int64_t rest = i, a = 0, b = 0;
#pragma unroll
    for (int axis = kAxes - 1; axis >= 0; --axis) {
      const std::int64_t at = rest % axes.dims[axis];
      rest /= axes.dims[axis];
      a += at * axes.to[axis];
      b += at * axes.from[axis];
    }
    to[a] = from[b];
  }
}

template <class Word>
void launch(const TensorView& to, const TensorView& from, const Axes& axes, cudaStream_t stream) {
  const std::int64_t count = to.size();
  const auto blocks =
      static_cast<unsigned>(std::min<std::int64_t>((count + kThreads - 1) / kThreads, 1 << 16));
  strided_copy_kernel<<<blocks, kThreads, 0, stream>>>(
      static_cast<Word*>(to.data), static_cast<const Word*>(from.data), axes, count);
  HALO_CUDA_CHECK(cudaGetLastError());
}

/// Whether both views can be taken as words of `n` elements along their last axis.
bool in_words(const TensorView& to, const TensorView& from, std::int64_t n) {
  if (to.rank() == 0 || to.stride(-1) != 1 || from.stride(-1) != 1) return false;
  bool whole = to.dim(-1) % n == 0;
  for (int axis = 0; axis + 1 < to.rank(); ++axis)
    whole = whole && to.stride(axis) % n == 0 && from.stride(axis) % n == 0;
  const auto bytes = static_cast<std::uintptr_t>(n) * dtype_size(to.dtype);
  return whole && reinterpret_cast<std::uintptr_t>(to.data) % bytes == 0 &&
         reinterpret_cast<std::uintptr_t>(from.data) % bytes == 0;
}

}  // namespace

void strided_copy(const TensorView& to, const TensorView& from, cudaStream_t stream) {
  const std::int64_t size = static_cast<std::int64_t>(dtype_size(to.dtype));
  const std::int64_t words = 16 / size;
  const std::int64_t n = in_words(to, from, words) ? words : 1;
  Axes axes{};
  const int first = kAxes - to.rank();
  for (int axis = 0; axis < kAxes; ++axis) {
    const int own = axis - first;
    axes.dims[axis] = own < 0 ? 1 : to.dim(own);
    axes.to[axis] = own < 0 ? 0 : to.stride(own) / (own + 1 < to.rank() ? n : 1);
    axes.from[axis] = own < 0 ? 0 : from.stride(own) / (own + 1 < to.rank() ? n : 1);
  }
  if (n > 1) {
    axes.dims[kAxes - 1] /= n;
    TensorView counted = to;
    counted.shape[-1] /= n;
    return launch<uint4>(counted, from, axes, stream);
  }
  switch (size) {
    case 8:
      return launch<std::uint64_t>(to, from, axes, stream);
    case 4:
      return launch<std::uint32_t>(to, from, axes, stream);
    case 2:
      return launch<std::uint16_t>(to, from, axes, stream);
    default:
      return launch<std::uint8_t>(to, from, axes, stream);
  }
}

}  // namespace halo
