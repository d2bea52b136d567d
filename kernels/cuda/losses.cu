#include "kernels/losses.h"

#include "kernels/cuda/kl_rows.cuh"

namespace halo::kernels::cuda {
namespace {

constexpr int kMseThreads = 128;  // rows of channels are shorter than rows of logits

template <class T, int N>
__global__ __launch_bounds__(kMseThreads) void mse_kernel(double* losses, T* gradient,
                                                          const T* student, const T* teacher,
                                                          const std::uint8_t* counted, int D,
                                                          float factor) {
  const std::int64_t row = std::int64_t{blockIdx.x} * D;
  if (counted != nullptr && counted[blockIdx.x] == 0) {
    write_zeros<N, kMseThreads>(gradient + row, D);
    if (threadIdx.x == 0) losses[blockIdx.x] = 0;
    return;
  }
  double squares[1] = {0};
  for (int at = threadIdx.x * N; at < D; at += kMseThreads * N) {
    float s[N], t[N];
    read_floats(s, student + row + at);
    read_floats(t, teacher + row + at);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float difference = s[k] - t[k];
      squares[0] += static_cast<double>(difference) * difference;
      s[k] = factor * difference;
    }
    write_floats(gradient + row + at, s);
  }
  block_sum<kMseThreads>(squares);
  if (threadIdx.x == 0) losses[blockIdx.x] = squares[0];
}

// The second read of a row goes backwards: what the first read last is still in a cache.

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void kl_kernel(double* losses, T* student,
                                                         const T* teacher,
                                                         const std::uint8_t* counted, int V,
                                                         double gradient_scale) {
  constexpr int kStep = kRowThreads * N;
  T* const z = student + std::int64_t{blockIdx.x} * V;
  const T* const y = teacher + std::int64_t{blockIdx.x} * V;
  if (counted != nullptr && counted[blockIdx.x] == 0) {
    write_zeros<N>(z, V);
    if (threadIdx.x == 0) losses[blockIdx.x] = 0;
    return;
  }
  KlRun run;
  float p[N], q[N];
  int at = threadIdx.x * N;
  for (; at < V; at += kStep) {
    read_floats(p, y + at);
    read_floats(q, z + at);
    run.add(p, q);
  }
  const KlRow row = run.over_block();
  const KlGradient gradient(row.sums, gradient_scale);
  for (at -= kStep; at >= 0; at -= kStep) {
    read_floats(p, y + at);
    read_floats(q, z + at);
#pragma unroll
    for (int k = 0; k < N; ++k)
      q[k] = gradient(expf(q[k] - row.student_shift), expf(p[k] - row.teacher_shift));
    write_floats(z + at, q);
  }
  if (threadIdx.x == 0) losses[blockIdx.x] = kl_of(row.sums);
}

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void ce_kernel(double* losses, T* logits,
                                                         const std::int32_t* labels, int V,
                                                         double gradient_scale, bool gradient) {
  constexpr int kStep = kRowThreads * N;
  T* const row = logits + std::int64_t{blockIdx.x} * V;
  const int label = labels[blockIdx.x];
  if (label < 0 || label >= V) {
    if (gradient) write_zeros<N>(row, V);
    if (threadIdx.x == 0) losses[blockIdx.x] = 0;
    return;
  }
  ExpSum mine;
  float x[N];
  int at = threadIdx.x * N;
  for (; at < V; at += kStep) {
    read_floats(x, row + at);
    mine.add(x);
  }
  const double target = to_float(row[label]);  // read before the barriers, after which it is lost
  const ExpRow all = over_block(mine);
  if (threadIdx.x == 0) losses[blockIdx.x] = log(all.sum) - (target - all.shift);
  if (!gradient) return;
  const auto factor = static_cast<float>(gradient_scale / all.sum);
  const auto one = static_cast<float>(gradient_scale);
  for (at -= kStep; at >= 0; at -= kStep) {
    read_floats(x, row + at);
#pragma unroll
    for (int k = 0; k < N; ++k)
      x[k] = expf(x[k] - all.shift) * factor - (at + k == label ? one : 0.0f);
    write_floats(row + at, x);
  }
}

/// The largest of a row and its column, the first of several.
struct Best {
  float value = kLowest;
  int column = 0;
  __device__ __forceinline__ void take(float x, int at) {
    if (x > value || (x == value && at < column)) value = x, column = at;
  }
};

__device__ __forceinline__ Best over_block(Best mine) {
  __shared__ Best of_warps[kRowThreads / 32];
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    const float value = __shfl_xor_sync(0xffffffffu, mine.value, lane);
    mine.take(value, __shfl_xor_sync(0xffffffffu, mine.column, lane));
  }
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = mine;
  __syncthreads();
  for (int warp = 0; warp < kRowThreads / 32; ++warp)
    mine.take(of_warps[warp].value, of_warps[warp].column);
  return mine;
}

/// Either of losses and greedy may be null.
template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void token_kernel(double* losses, std::int32_t* greedy,
                                                            const T* logits,
                                                            const std::int32_t* labels, int V) {
  const T* const row = logits + std::int64_t{blockIdx.x} * V;
  ExpSum mine;
  Best best;
  float x[N];
  for (int at = threadIdx.x * N; at < V; at += kRowThreads * N) {
    read_floats(x, row + at);
    mine.add(x);
#pragma unroll
    for (int k = 0; k < N; ++k) best.take(x[k], at + k);
  }
  if (greedy != nullptr) {
    best = over_block(best);
    if (threadIdx.x == 0) greedy[blockIdx.x] = best.column;
  }
  if (losses == nullptr) return;
  const ExpRow all = over_block(mine);
  if (threadIdx.x != 0) return;
  const int label = labels[blockIdx.x];
  const bool has_label = label >= 0 && label < V;
  losses[blockIdx.x] =
      has_label ? log(all.sum) - (static_cast<double>(to_float(row[label])) - all.shift) : 0;
}

const std::uint8_t* mask_of(const TensorView& counted) {
  return counted.empty() ? nullptr : data_of<std::uint8_t>(counted);
}

}  // namespace

void add_mse_loss(TensorView sum, TensorView dstudent, TensorView student, TensorView teacher,
                  TensorView counted, double gradient_scale, Stream& stream) {
  const std::int64_t N = student.dim(0), D = student.dim(1);
  if (N == 0) return;
  const Tensor losses(stream, {N}, DType::kFloat64);
  dispatch_cuda_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto *const gradient = data_of<T>(dstudent), *const s = data_of<T>(student),
                *const t = data_of<T>(teacher);
    const auto launch = [&](auto pack) {
      mse_kernel<T, pack()><<<static_cast<unsigned>(N), kMseThreads, 0, native(stream)>>>(
          data_of<double>(losses), gradient, s, t, mask_of(counted), static_cast<int>(D),
          static_cast<float>(2 * gradient_scale));
      check_launch();
    };
    with_packs<T>(launch, D, gradient, s, t);
  });
  add_rows(sum, losses, stream);
}

void add_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView counted,
                 double gradient_scale, Stream& stream) {
  const std::int64_t N = student.dim(0), V = student.dim(1);
  if (N == 0) return;
  const Tensor losses(stream, {N}, DType::kFloat64);
  dispatch_cuda_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto *const z = data_of<T>(student), *const y = data_of<T>(teacher);
    const auto launch = [&](auto pack) {
      kl_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(losses), z, y, mask_of(counted), static_cast<int>(V), gradient_scale);
      check_launch();
    };
    with_packs<T>(launch, V, z, y);
  });
  add_rows(sum, losses, stream);
}

void add_ce_loss(TensorView sum, TensorView logits, TensorView labels, double gradient_scale,
                 bool gradient, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  if (N == 0) return;
  const Tensor losses(stream, {N}, DType::kFloat64);
  dispatch_cuda_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto pack) {
      ce_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(losses), data_of<T>(logits), data_of<std::int32_t>(labels),
          static_cast<int>(V), gradient_scale, gradient);
      check_launch();
    };
    with_packs<T>(launch, V, data_of<T>(logits));
  });
  add_rows(sum, losses, labels, V, stream);
}

void token_log_likelihood(TensorView row_loss, TensorView greedy, TensorView logits,
                          TensorView labels, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  if (N == 0) return;
  if (!row_loss.empty()) check_labels(labels, V, stream);
  dispatch_cuda_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto pack) {
      token_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(row_loss), data_of<std::int32_t>(greedy), data_of<T>(logits),
          data_of<std::int32_t>(labels), static_cast<int>(V));
      check_launch();
    };
    with_packs<T>(launch, V, data_of<T>(logits));
  });
}

}  // namespace halo::kernels::cuda
