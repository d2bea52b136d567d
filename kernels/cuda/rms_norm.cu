#include "kernels/rms_norm.h"
#include "kernels/norm_gate.h"

#include "kernels/cuda/head_rotation.cuh"

namespace halo::kernels::cuda {
namespace {

using namespace rms;

template <class T>
struct Sums {
  float* sums;
  const T *dy, *x, *weight;  // dy null: squares of x
  std::int64_t N;
  int D;
};

template <class T, class L>
__global__ __launch_bounds__(kThreads) void sums_kernel(const Sums<T> a) {
  constexpr int N = L::N;
  __shared__ float of_warps[kThreads / 32];
  const std::int64_t row = std::int64_t{blockIdx.x} * L::teams + threadIdx.x / L::lanes;
  const int lane = threadIdx.x % L::lanes, packs = row < a.N ? a.D / N : 0;
  float sum = 0;
  for (int at = lane; at < packs; at += L::lanes) {
    const std::int64_t place = row * a.D + at * N;
    float x[N], dy[N], weight[N];
    read_floats(x, a.x + place);
    if (a.dy != nullptr) {
      read_floats(dy, a.dy + place);
      read_floats(weight, a.weight + at * N);
    }
#pragma unroll
    for (int k = 0; k < N; ++k) sum += (a.dy != nullptr ? dy[k] * weight[k] : x[k]) * x[k];
  }
  sum = team_sum<L>(sum, of_warps);
  if (row < a.N && lane == 0) a.sums[row] = sum;
}

template <class T>
void run_sums(const Sums<T>& a, Stream& stream) {
  if (a.N == 0) return;
  with_layout<T>(a.D, packed<T>(a.D, a.dy, a.x, a.weight), [&](auto layout) {
    using L = decltype(layout);
    sums_kernel<T, L><<<blocks_of<L>(a.N), kThreads, 0, native(stream)>>>(a);
    check_launch();
  });
}

template <class T>
struct Forward {
  T* y;
  float* inv_rms;
  const T *x, *weight;
  const float* sums;  // of whole rows; null: of these
  std::int64_t N;
  int D;
  float channels, eps;
};

/// With a rotation a team holds a whole row, two packs a thread.
template <class T, class L, class Step>
__global__ __launch_bounds__(kThreads) void forward_kernel(const Forward<T> a, const Step step) {
  constexpr int N = L::N;
  __shared__ float of_warps[kThreads / 32];
  const std::int64_t row = std::int64_t{blockIdx.x} * L::teams + threadIdx.x / L::lanes;
  const bool here = row < a.N;
  const int lane = threadIdx.x % L::lanes, packs = here ? a.D / N : 0;
  const T* const x = a.x + row * a.D;
  T* const y = a.y + row * a.D;

  Pack<T, N> kept[L::items];
  float squares = 0;
  if (L::fits || a.sums == nullptr) {
    for_items<L>(lane, packs, [&](int i, int at) {
      kept[i] = read_pack<T, N>(x + at * N);
#pragma unroll
      for (int k = 0; k < N; ++k) squares += to_float(kept[i].at[k]) * to_float(kept[i].at[k]);
    });
  }
  if (a.sums == nullptr) {
    squares = team_sum<L>(squares, of_warps);
  } else {
    squares = here ? a.sums[row] : 0;
  }
  const float scale = 1 / sqrtf(squares / a.channels + a.eps);
  if (here && lane == 0) a.inv_rms[row] = scale;
  if constexpr (kRotates<Step>) {
    if (!here) return;
    float out[2][N];
    for_items<L>(lane, packs, [&](int i, int at) {
      float weight[N];
      read_floats(weight, a.weight + at * N);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float unit = to_float(from_float<T>(to_float(kept[i].at[k]) * scale));
        out[i][k] = to_float(from_float<T>(unit * weight[k]));
      }
    });
    step.template apply<L>(out, row, lane, 1.0f);
    for_items<L>(lane, packs, [&](int i, int at) { write_floats(y + at * N, out[i]); });
    return;
  }
  for_items<L>(lane, packs, [&](int i, int at) {
    if constexpr (!L::fits) kept[i] = read_pack<T, N>(x + at * N);
    float weight[N], out[N];
    read_floats(weight, a.weight + at * N);
#pragma unroll
    for (int k = 0; k < N; ++k)
      out[k] = to_float(from_float<T>(to_float(kept[i].at[k]) * scale)) * weight[k];
    if constexpr (kGates<Step>) step.apply(out, row * a.D + at * N);
    write_floats(y + at * N, out);
  });
}

template <class T, class Step>
void run_forward(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
                 const SplitRows& split, const Step& step, Stream& stream) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  if (N == 0 || D == 0) return;
  const Forward<T> a{data_of<T>(y),       data_of<float>(inv_rms),    data_of<T>(x),
                     data_of<T>(weight),  data_of<float>(split.sums), N,
                     static_cast<int>(D), channels_of(x, split),      static_cast<float>(eps)};
  const T* gate = nullptr;
  if constexpr (kGates<Step>) gate = step.z;
  with_layout<T>(D, packed<T>(D, a.y, a.x, a.weight, gate), [&](auto layout) {
    using L = decltype(layout);
    forward_kernel<T, L><<<blocks_of<L>(N), kThreads, 0, native(stream)>>>(a, step);
    check_launch();
  });
}

}  // namespace

void row_squares(TensorView sums, TensorView x, Stream& stream) {
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    run_sums(Sums<T>{data_of<float>(sums), nullptr, data_of<T>(x), nullptr, x.dim(0),
                     static_cast<int>(x.dim(1))},
             stream);
  });
}

void row_dots(TensorView sums, TensorView dy, TensorView x, TensorView weight, Stream& stream) {
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    run_sums(Sums<T>{data_of<float>(sums), data_of<T>(dy), data_of<T>(x), data_of<T>(weight),
                     x.dim(0), static_cast<int>(x.dim(1))},
             stream);
  });
}

void rms_norm(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
              Stream& stream, const SplitRows& split) {
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    run_forward<decltype(zero)>(y, inv_rms, x, weight, eps, split, NoStep{}, stream);
  });
}

void norm_gate(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, TensorView z,
               double eps, Stream& stream) {
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const GateStep<T> gate{data_of<T>(z), nullptr, nullptr};
    run_forward<T>(y, inv_rms, x, weight, eps, {}, gate, stream);
  });
}

bool norm_rope_takes(DType dtype, std::int64_t K) {
  const auto pack = static_cast<std::int64_t>(16 / dtype_size(dtype));
  return K == 8 * pack || K == 16 * pack || K == 32 * pack;
}

void norm_rope(TensorView y, TensorView inv_rms, TensorView x, TensorView weight, double eps,
               const HeadRotation& rotation, Stream& stream) {
  const std::int64_t K = x.dim(3), N = x.size() / K;
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Forward<T> a{data_of<T>(y),
                       data_of<float>(inv_rms),
                       data_of<T>(x),
                       data_of<T>(weight),
                       nullptr,
                       N,
                       static_cast<int>(K),
                       static_cast<float>(K),
                       static_cast<float>(eps)};
    const Rotation<T> rotate(rotation, x.dim(1) * x.dim(2));
    with_head_layout<T>(K, [&](auto layout) {
      using L = decltype(layout);
      forward_kernel<T, L><<<blocks_of<L>(N), kThreads, 0, native(stream)>>>(a, rotate);
      check_launch();
    });
  });
}

}  // namespace halo::kernels::cuda
