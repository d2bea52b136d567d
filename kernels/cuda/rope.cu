#include "kernels/rope.h"

#include <bit>
#include <cmath>

#include "kernels/cuda/elementwise.cuh"

namespace halo::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kEnoughBlocks = 1024;  // to fill a GPU

/// Each thread holds one frequency. It and the angle are rounded to float32 where the CPU's are: at position 10^6 a last
/// bit of the frequency is 0.06 of the angle.
template <class T>
__global__ void rope_tables_kernel(T* cos, T* sin, std::int64_t positions, std::int64_t half,
                                   std::int64_t first_position, double theta) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= half) return;
  const double exponent = -static_cast<double>(i) / static_cast<double>(half);
  const auto frequency = static_cast<float>(pow(theta, exponent));
  const std::int64_t step = std::int64_t{gridDim.y} * blockDim.y;
  for (std::int64_t t = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y; t < positions;
       t += step) {
    const float angle = static_cast<float>(first_position + t) * frequency;
    double sine, cosine;
    sincos(static_cast<double>(angle), &sine, &cosine);
    cos[t * half + i] = from_float<T>(static_cast<float>(cosine));
    sin[t * half + i] = from_float<T>(static_cast<float>(sine));
  }
}

struct RopeSizes {
  std::int64_t positions, heads, packs;  // packs of a half head
};

/// Threads along x take a half head, along y heads, along z positions. A thread's cosines and sines serve all its heads.
template <class T, int N>
__global__ void apply_rope_kernel(T* x, const T* __restrict__ cos, const T* __restrict__ sin,
                                  float sign, RopeSizes sizes) {
  const std::int64_t first_t = std::int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
  const std::int64_t first_h = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y;
  for (std::int64_t t = first_t; t < sizes.positions; t += std::int64_t{gridDim.x} * blockDim.z) {
    for (std::int64_t j = threadIdx.x; j < sizes.packs; j += blockDim.x) {
      const auto c = load_floats<N>(cos, t * sizes.packs + j);
      const auto s = load_floats<N>(sin, t * sizes.packs + j);
      for (std::int64_t h = first_h; h < sizes.heads; h += std::int64_t{gridDim.y} * blockDim.y) {
        const std::int64_t low = (t * sizes.heads + h) * 2 * sizes.packs + j;
        const std::int64_t high = low + sizes.packs;
        auto a = load_floats<N>(x, low);
        auto b = load_floats<N>(x, high);
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const float x1 = a.at[k], x2 = b.at[k], sine = sign * s.at[k];
          a.at[k] = fmaf(x1, c.at[k], -(x2 * sine));
          b.at[k] = fmaf(x2, c.at[k], x1 * sine);
        }
        store_floats(x, low, a);
        store_floats(x, high, b);
      }
    }
  }
}

template <class T, int N>
void launch_apply_rope(T* x, const T* cos, const T* sin, float sign, const RopeSizes& sizes,
                       const Stream& stream) {
  const auto cover = [](std::int64_t n, int most) {  // a power of two, as `most` is
    return std::bit_ceil(static_cast<unsigned>(std::min<std::int64_t>(n, most)));
  };
  dim3 block(cover(sizes.packs, kThreads));
  block.y = cover(sizes.heads, kThreads / static_cast<int>(block.x));
  block.z = std::min(kThreads / (block.x * block.y), 64u);
  dim3 grid(blocks_for(sizes.positions, static_cast<int>(block.z)));
  grid.y = blocks_for(sizes.heads, static_cast<int>(block.y),
                      std::max<std::int64_t>(kEnoughBlocks / grid.x, 1));
  apply_rope_kernel<T, N><<<grid, block, 0, native(stream)>>>(x, cos, sin, sign, sizes);
  check_launch();
}

template <class T, int N>
__global__ void scale_by_position_kernel(T* x, std::int64_t positions, std::int64_t packs,
                                         std::int64_t first_position, double base,
                                         double log_base) {
  const std::int64_t first = std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const std::int64_t step = std::int64_t{gridDim.y} * blockDim.x;
  for (std::int64_t t = blockIdx.x; t < positions; t += gridDim.x) {
    const double factor = log(static_cast<double>(first_position + t) + base) / log_base;
    for (std::int64_t j = first; j < packs; j += step) {
      auto values = load_floats<N>(x, t * packs + j);
#pragma unroll
      for (float& value : values.at)
        value = static_cast<float>(static_cast<double>(value) * factor);
      store_floats(x, t * packs + j, values);
    }
  }
}

template <class T, int N>
void launch_scale_by_position(T* x, std::int64_t positions, std::int64_t packs,
                              std::int64_t first_position, double base, const Stream& stream) {
  dim3 grid(blocks_for(positions, 1));
  grid.y = blocks_for(packs, kThreads, std::max<std::int64_t>(kEnoughBlocks / grid.x, 1));
  scale_by_position_kernel<T, N><<<grid, kThreads, 0, native(stream)>>>(
      x, positions, packs, first_position, base, std::log(base));
  check_launch();
}

}  // namespace

void rope_tables(TensorView cos, TensorView sin, std::int64_t first_position, double theta,
                 Stream& stream) {
  if (cos.size() == 0) return;
  const std::int64_t positions = cos.dim(0), half = cos.dim(1);
  dispatch_cuda_float(cos.dtype, [&](auto zero) {
    using T = decltype(zero);
    const dim3 block(32, 8);
    const dim3 grid(blocks_for(half, 32), blocks_for(positions, 8, 256));  // few powers
    rope_tables_kernel<<<grid, block, 0, native(stream)>>>(data_of<T>(cos), data_of<T>(sin),
                                                           positions, half, first_position, theta);
  });
  check_launch();
}

void apply_rope(TensorView x, TensorView cos, TensorView sin, bool inverse, Stream& stream) {
  if (x.size() == 0) return;
  const std::int64_t half = x.dim(3) / 2;
  const float sign = inverse ? -1.0f : 1.0f;
  RopeSizes sizes{x.dim(0), x.dim(1) * x.dim(2), half};
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const data = data_of<T>(x);
    const auto *const c = data_of<T>(cos), *const s = data_of<T>(sin);
    if (packed<T>(half, data, c, s)) {
      sizes.packs /= kPack<T>;
      launch_apply_rope<T, kPack<T>>(data, c, s, sign, sizes, stream);
    } else {
      launch_apply_rope<T, 1>(data, c, s, sign, sizes, stream);
    }
  });
}

void scale_by_position(TensorView x, std::int64_t first_position, double base, Stream& stream) {
  if (x.size() == 0) return;
  const std::int64_t positions = x.dim(0), row = x.size() / positions;
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int N = kPack<T>;
    auto* const data = data_of<T>(x);
    if (packed<T>(row, data)) {
      launch_scale_by_position<T, N>(data, positions, row / N, first_position, base, stream);
    } else {
      launch_scale_by_position<T, 1>(data, positions, row, first_position, base, stream);
    }
  });
}

}  // namespace halo::kernels::cuda
