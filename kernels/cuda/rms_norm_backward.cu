#include "kernels/norm_gate.h"
#include "kernels/rms_norm.h"

#include "core/base/tensor.h"
#include "kernels/cuda/head_rotation.cuh"

namespace halo::kernels::cuda {
namespace {

using namespace rms;

template <class T>
struct Backward {
  T* dx;
  float* partial;  // (blocks, D): the blocks' sums of the weight's gradient; or null
  const T *dy, *x, *weight;
  const float *inv_rms, *dots;  // dots of whole rows; null: of these
  std::int64_t N;
  int D;
  float channels;
  bool accumulate;
};

/// partial[block] = the teams' sums, added in order.
template <class L>
__device__ __forceinline__ void write_partial(float* partial, const float (&sums)[L::items][L::N],
                                              int lane, int D) {
  constexpr int N = L::N;
  float* const to = partial + std::int64_t{blockIdx.x} * D;
  if constexpr (L::teams == 1) {
    for_items<L>(lane, D / N, [&](int i, int at) {
#pragma unroll
      for (int k = 0; k < N; ++k) to[at * N + k] = sums[i][k];
    });
  } else {
    __shared__ float of_teams[L::teams][L::items * L::lanes * N];
    for_items<L>(lane, D / N, [&](int i, int at) {
#pragma unroll
      for (int k = 0; k < N; ++k) of_teams[threadIdx.x / L::lanes][at * N + k] = sums[i][k];
    });
    __syncthreads();
    for (int d = threadIdx.x; d < D; d += kThreads) {
      float sum = 0;
      for (int team = 0; team < L::teams; ++team) sum += of_teams[team][d];
      to[d] = sum;
    }
  }
}

/// dx of a pack from its operands; `x_unit` is x / rms.
template <int N, class T>
__device__ __forceinline__ void write_dx(T* dx, const float (&dy_weight)[N],
                                         const float (&x_unit)[N], float scale, float mean,
                                         bool accumulate) {
  float out[N];
#pragma unroll
  for (int k = 0; k < N; ++k) out[k] = scale * (dy_weight[k] - x_unit[k] * mean);
  if (accumulate) {
    float before[N];
    read_floats(before, dx);
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] += before[k];
  }
  write_floats(dx, out);
}

/// Hides from the compiler that a pack was unpacked before: it would keep the floats, which take twice the registers.
template <class T, int N>
__device__ __forceinline__ void unpack_anew(Pack<T, N>& pack) {
  if constexpr (sizeof(T) < 4 && sizeof(pack) % 4 == 0) {
#pragma unroll
    for (int word = 0; word < static_cast<int>(sizeof(pack)) / 4; ++word)
      asm volatile("" : "+r"(reinterpret_cast<unsigned*>(&pack)[word]));
  }
}

template <class L, class T, class Step>
__device__ __forceinline__ void turn_back(Pack<T, L::N> (&dy)[2], const Step& rotation,
                                          std::int64_t row, int lane) {
  float turned[2][L::N];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int k = 0; k < L::N; ++k) turned[i][k] = to_float(dy[i].at[k]);
  }
  rotation.template apply<L>(turned, row, lane, -1.0f);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int k = 0; k < L::N; ++k) dy[i].at[k] = from_float<T>(turned[i][k]);
  }
}

/// With a rotation a team holds a whole row, two packs a thread.
template <class T, class L, class Step>
__global__ __launch_bounds__(kThreads, L::blocks_per_sm) void backward_kernel(const Backward<T> a,
                                                                              const Step step) {
  constexpr int N = L::N;
  __shared__ float of_warps[2][kThreads / 32];  // by turns: one barrier a row is then enough
  const int lane = threadIdx.x % L::lanes, team = threadIdx.x / L::lanes;
  float sums[L::items][N] = {};
  Pack<T, N> weight[L::items], x[L::items], dy[L::items];
  int turn = 0;
  for (std::int64_t first = std::int64_t{blockIdx.x} * L::teams; first < a.N;
       first += std::int64_t{gridDim.x} * L::teams, turn ^= 1) {
    const std::int64_t row = first + team;
    const bool here = row < a.N;
    const int packs = here ? a.D / N : 0;
    float dot = 0;
    for_items<L>(lane, packs, [&](int i, int at) {
      weight[i] = read_pack<T, N>(a.weight + at * N);  // each row anew: registers are dearer
      x[i] = read_pack<T, N>(a.x + row * a.D + at * N);
      dy[i] = read_pack<T, N>(a.dy + row * a.D + at * N);
    });
    if constexpr (kRotates<Step>) {
      if (here) turn_back<L>(dy, step, row, lane);
    }
    const float scale = here ? a.inv_rms[row] : 0;
    for_items<L>(lane, packs, [&](int i, int at) {
      if constexpr (kGates<Step>) {
        float n[N];
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const float unit = to_float(from_float<T>(to_float(x[i].at[k]) * scale));
          n[k] = to_float(from_float<T>(unit * to_float(weight[i].at[k])));
        }
        step.apply_backward(dy[i], n, row * a.D + at * N);
      }
#pragma unroll
      for (int k = 0; k < N; ++k)
        dot += to_float(dy[i].at[k]) * to_float(weight[i].at[k]) * to_float(x[i].at[k]);
    });
    if (a.dots == nullptr) {
      dot = team_sum<L>(dot, of_warps[turn]);
    } else {
      dot = here ? a.dots[row] : 0;
    }
    const float mean = dot * scale / a.channels;
    for_items<L>(lane, packs, [&](int i, int at) {
      unpack_anew(weight[i]), unpack_anew(x[i]), unpack_anew(dy[i]);
      float unit[N], dy_weight[N];
#pragma unroll
      for (int k = 0; k < N; ++k) {
        unit[k] = to_float(x[i].at[k]) * scale;
        dy_weight[k] = to_float(dy[i].at[k]) * to_float(weight[i].at[k]);
        sums[i][k] += to_float(dy[i].at[k]) * unit[k];
      }
      write_dx(a.dx + row * a.D + at * N, dy_weight, unit, scale, mean, a.accumulate);
    });
  }
  if (a.partial != nullptr) write_partial<L>(a.partial, sums, lane, a.D);
}

/// Rows too long for registers: the weight's gradient by columns, before dx overwrites dy ...
template <class T>
__global__ __launch_bounds__(kThreads) void long_weight_kernel(const Backward<T> a) {
  const int d = blockIdx.x * kThreads + threadIdx.x;
  if (d >= a.D) return;
  float sum = 0;
  for (std::int64_t n = blockIdx.y; n < a.N; n += gridDim.y)
    sum += to_float(a.dy[n * a.D + d]) * (to_float(a.x[n * a.D + d]) * a.inv_rms[n]);
  a.partial[std::int64_t{blockIdx.y} * a.D + d] = sum;
}

/// ... and dx, a row a block.
template <class T, class L>
__global__ __launch_bounds__(kThreads) void long_backward_kernel(const Backward<T> a) {
  constexpr int N = L::N;
  __shared__ float of_warps[kThreads / 32];
  const std::int64_t row = std::int64_t{blockIdx.x} * a.D;
  const int packs = a.D / N;
  const auto for_packs = [&](auto body) {
    for_items<L>(threadIdx.x, packs, [&](int, int at) {
      float x[N], dy[N], weight[N];
      read_floats(x, a.x + row + at * N);
      read_floats(dy, a.dy + row + at * N);
      read_floats(weight, a.weight + at * N);
#pragma unroll
      for (int k = 0; k < N; ++k) dy[k] *= weight[k];
      body(x, dy, at);
    });
  };
  float dot = 0;
  if (a.dots == nullptr) {
    for_packs([&](const float(&x)[N], const float(&dy_weight)[N], int) {
#pragma unroll
      for (int k = 0; k < N; ++k) dot += dy_weight[k] * x[k];
    });
    dot = team_sum<L>(dot, of_warps);
  } else {
    dot = a.dots[blockIdx.x];
  }
  const float scale = a.inv_rms[blockIdx.x], mean = dot * scale / a.channels;
  for_packs([&](float(&x)[N], const float(&dy_weight)[N], int at) {
#pragma unroll
    for (int k = 0; k < N; ++k) x[k] *= scale;
    write_dx(a.dx + row + at * N, dy_weight, x, scale, mean, a.accumulate);
  });
}

constexpr int kColumns = 32, kRuns = 32;

/// dweight += the blocks' sums: of every kRuns-th in order, then of those.
__global__ __launch_bounds__(kColumns* kRuns) void add_partials_kernel(float* dweight,
                                                                       const float* partial,
                                                                       int blocks, int D) {
  __shared__ float runs[kRuns][kColumns];
  const int d = blockIdx.x * kColumns + threadIdx.x;
  float sum = 0;
  if (d < D) {
    for (int block = threadIdx.y; block < blocks; block += kRuns)
      sum += partial[std::int64_t{block} * D + d];
  }
  runs[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || d >= D) return;
  sum = 0;
#pragma unroll
  for (int run = 0; run < kRuns; ++run) sum += runs[run][threadIdx.x];
  dweight[d] += sum;
}

template <class T, class L, class Step>
void run_backward(Backward<T> a, TensorView dweight, const Step& step, Stream& stream) {
  const cudaStream_t queue = native(stream);
  const unsigned blocks = blocks_for(a.N, L::teams, L::most_blocks);
  Tensor memory;
  if (!dweight.empty()) {
    memory = Tensor(stream, {std::int64_t{blocks}, std::int64_t{a.D}}, DType::kFloat32);
    a.partial = data_of<float>(memory);
  }
  if constexpr (L::fits) {
    backward_kernel<T, L><<<blocks, kThreads, 0, queue>>>(a, step);
  } else {
    if (a.partial != nullptr) {
      const dim3 grid(blocks_for(a.D, kThreads), blocks);
      long_weight_kernel<T><<<grid, kThreads, 0, queue>>>(a);
      check_launch();
    }
    long_backward_kernel<T, L><<<blocks_of<L>(a.N), kThreads, 0, queue>>>(a);
  }
  check_launch();
  if (a.partial == nullptr) return;
  const dim3 threads(kColumns, kRuns);
  add_partials_kernel<<<blocks_for(a.D, kColumns), threads, 0, queue>>>(
      data_of<float>(dweight), a.partial, static_cast<int>(blocks), a.D);
  check_launch();
}

/// Whole rows, whose gradient `d` is overwritten.
template <class T>
Backward<T> in_place(const TensorView& d, const TensorView& x, const TensorView& weight,
                     const TensorView& inv_rms, std::int64_t N, std::int64_t D) {
  return {data_of<T>(d),
          nullptr,
          data_of<T>(d),
          data_of<T>(x),
          data_of<T>(weight),
          data_of<float>(inv_rms),
          nullptr,
          N,
          static_cast<int>(D),
          static_cast<float>(D),
          /*accumulate=*/false};
}

}  // namespace

void rms_norm_backward(TensorView dx, TensorView dweight, TensorView dy, TensorView x,
                       TensorView weight, TensorView inv_rms, bool accumulate, Stream& stream,
                       const SplitRows& split) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  if (N == 0 || D == 0) return;
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Backward<T> a{data_of<T>(dx),
                        nullptr,
                        data_of<T>(dy),
                        data_of<T>(x),
                        data_of<T>(weight),
                        data_of<float>(inv_rms),
                        data_of<float>(split.sums),
                        N,
                        static_cast<int>(D),
                        channels_of(x, split),
                        accumulate};
    with_layout<T>(D, packed<T>(D, a.dx, a.dy, a.x, a.weight), [&](auto layout) {
      run_backward<T, decltype(layout)>(a, dweight, NoStep{}, stream);
    });
  });
}

bool norm_gate_takes(DType dtype, std::int64_t D) {
  const auto pack = static_cast<std::int64_t>(16 / dtype_size(dtype));
  return D % pack == 0 && D <= 4 * kThreads * pack;  // a row fits into registers
}

void norm_gate_backward(TensorView d, TensorView dweight, TensorView y, TensorView z, TensorView x,
                        TensorView weight, TensorView inv_rms, Stream& stream) {
  const std::int64_t N = x.dim(0), D = x.dim(1);
  if (N == 0 || D == 0) return;
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Backward<T> a = in_place<T>(d, x, weight, inv_rms, N, D);
    const GateStep<T> gate{data_of<T>(z), data_of<T>(z), data_of<T>(y)};
    with_layout<T>(D, /*packs=*/true, [&](auto layout) {
      using L = decltype(layout);
      if constexpr (L::fits) run_backward<T, L>(a, dweight, gate, stream);
    });
  });
}

void norm_rope_backward(TensorView d, TensorView dweight, TensorView x, TensorView weight,
                        TensorView inv_rms, const HeadRotation& rotation, Stream& stream) {
  const std::int64_t K = x.dim(3), N = x.size() / K;
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Backward<T> a = in_place<T>(d, x, weight, inv_rms, N, K);
    const Rotation<T> rotate(rotation, x.dim(1) * x.dim(2));
    with_head_layout<T>(
        K, [&](auto layout) { run_backward<T, decltype(layout)>(a, dweight, rotate, stream); });
  });
}

}  // namespace halo::kernels::cuda
