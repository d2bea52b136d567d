#include "kernels/split_losses.h"

#include "kernels/cuda/kl_rows.cuh"

namespace halo::kernels::cuda {
namespace {

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void maxima_kernel(T* maxima, const T* logits, int V) {
  const T* const row = logits + std::int64_t{blockIdx.x} * V;
  float largest[1] = {kLowest};
  for (int at = threadIdx.x * N; at < V; at += kRowThreads * N) {
    float x[N];
    read_floats(x, row + at);
    largest[0] = fmaxf(largest[0], largest_of(x));
  }
  block_max(largest);
  if (threadIdx.x == 0) maxima[blockIdx.x] = from_float<T>(largest[0]);
}

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void kl_sums_kernel(double* sums, T* student, T* teacher,
                                                              const T* student_maxima,
                                                              const T* teacher_maxima, int V) {
  T* const z = student + std::int64_t{blockIdx.x} * V;
  T* const y = teacher + std::int64_t{blockIdx.x} * V;
  const float max_z = to_float(student_maxima[blockIdx.x]);
  const float max_y = to_float(teacher_maxima[blockIdx.x]);
  KlSums<float> mine;
  for (int at = threadIdx.x * N; at < V; at += kRowThreads * N) {
    float p[N], q[N];
    read_floats(p, y + at);
    read_floats(q, z + at);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float l = (p[k] - q[k]) - (max_y - max_z);
      p[k] = expf(p[k] - max_y);
      q[k] = expf(q[k] - max_z);
      mine.add(p[k], q[k], l);
    }
    write_floats(y + at, p);
    write_floats(z + at, q);
  }
  const KlSums<double> row = over_block(converted<double>(mine));
  if (threadIdx.x != 0) return;
  double* const to = sums + 5 * std::int64_t{blockIdx.x};
  to[0] = row.teacher, to[1] = row.student;
  to[2] = row.linear, to[3] = row.moment, to[4] = row.excess;
}

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void kl_kernel(double* losses, T* student,
                                                         const T* teacher, const double* sums,
                                                         const std::uint8_t* counted, int V,
                                                         double gradient_scale) {
  T* const z = student + std::int64_t{blockIdx.x} * V;
  const T* const y = teacher + std::int64_t{blockIdx.x} * V;
  if (counted != nullptr && counted[blockIdx.x] == 0) {
    write_zeros<N>(z, V);
    if (threadIdx.x == 0) losses[blockIdx.x] = 0;
    return;
  }
  const double* const s = sums + 5 * std::int64_t{blockIdx.x};
  const KlSums<double> row{s[0], s[1], s[2], s[3], s[4]};
  const KlGradient gradient(row, gradient_scale);
  for (int at = threadIdx.x * N; at < V; at += kRowThreads * N) {
    float p[N], q[N];
    read_floats(p, y + at);
    read_floats(q, z + at);
#pragma unroll
    for (int k = 0; k < N; ++k) q[k] = gradient(q[k], p[k]);
    write_floats(z + at, q);
  }
  if (threadIdx.x == 0) losses[blockIdx.x] = kl_of(row);
}

/// Labels outside the vocabulary are nobody's here; split_ce_loss, which waits for the GPU anyway, throws.
template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void ce_sums_kernel(double* sums, T* logits,
                                                              const std::int32_t* labels,
                                                              const T* maxima, std::int64_t first,
                                                              int V, bool gradient) {
  T* const row = logits + std::int64_t{blockIdx.x} * V;
  double* const to = sums + 2 * std::int64_t{blockIdx.x};
  const float maximum = to_float(maxima[blockIdx.x]);
  if (threadIdx.x == 0) {
    const std::int64_t column = labels[blockIdx.x] - first;
    const bool here = labels[blockIdx.x] >= 0 && column >= 0 && column < V;
    to[1] = here ? static_cast<double>(to_float(row[column])) - maximum : 0;
  }
  __syncthreads();  // before that logit is overwritten
  float mine = 0;
  for (int at = threadIdx.x * N; at < V; at += kRowThreads * N) {
    float x[N];
    read_floats(x, row + at);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      x[k] = expf(x[k] - maximum);
      mine += x[k];
    }
    if (gradient) write_floats(row + at, x);
  }
  double sum[1] = {mine};
  block_sum<kRowThreads>(sum);
  if (threadIdx.x == 0) to[0] = sum[0];
}

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void ce_kernel(double* losses, T* logits,
                                                         const std::int32_t* labels,
                                                         const double* sums, std::int64_t first,
                                                         int V, double gradient_scale,
                                                         bool gradient) {
  T* const row = logits + std::int64_t{blockIdx.x} * V;
  const double* const s = sums + 2 * std::int64_t{blockIdx.x};
  const bool has_label = labels[blockIdx.x] >= 0;
  if (threadIdx.x == 0) losses[blockIdx.x] = has_label ? log(s[0]) - s[1] : 0;
  if (!gradient) return;
  if (!has_label) return write_zeros<N>(row, V);
  const std::int64_t column = labels[blockIdx.x] - first;
  const auto factor = static_cast<float>(gradient_scale / s[0]);
  const auto one = static_cast<float>(gradient_scale);
  for (int at = threadIdx.x * N; at < V; at += kRowThreads * N) {
    float x[N];
    read_floats(x, row + at);
#pragma unroll
    for (int k = 0; k < N; ++k) x[k] = x[k] * factor - (at + k == column ? one : 0.0f);
    write_floats(row + at, x);
  }
}

}  // namespace

void row_maxima(TensorView maxima, TensorView logits, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  if (N == 0) return;
  dispatch_cuda_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto pack) {
      maxima_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<T>(maxima), data_of<T>(logits), static_cast<int>(V));
      check_launch();
    };
    with_packs<T>(launch, V, data_of<T>(logits));
  });
}

void split_kl_sums(TensorView sums, TensorView student, TensorView teacher,
                   TensorView student_maxima, TensorView teacher_maxima, Stream& stream) {
  const std::int64_t N = student.dim(0), V = student.dim(1);
  if (N == 0) return;
  dispatch_cuda_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto *const z = data_of<T>(student), *const y = data_of<T>(teacher);
    const auto launch = [&](auto pack) {
      kl_sums_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(sums), z, y, data_of<T>(student_maxima), data_of<T>(teacher_maxima),
          static_cast<int>(V));
      check_launch();
    };
    with_packs<T>(launch, V, z, y);
  });
}

void add_split_kl_loss(TensorView sum, TensorView student, TensorView teacher, TensorView sums,
                       TensorView counted, double gradient_scale, Stream& stream) {
  const std::int64_t N = student.dim(0), V = student.dim(1);
  if (N == 0) return;
  const Tensor losses(stream, {N}, DType::kFloat64);
  dispatch_cuda_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto *const z = data_of<T>(student), *const y = data_of<T>(teacher);
    const auto* const mask = counted.empty() ? nullptr : data_of<std::uint8_t>(counted);
    const auto launch = [&](auto pack) {
      kl_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(losses), z, y, data_of<double>(sums), mask, static_cast<int>(V),
          gradient_scale);
      check_launch();
    };
    with_packs<T>(launch, V, z, y);
  });
  add_rows(sum, losses, stream);
}

void split_ce_sums(TensorView sums, TensorView logits, TensorView labels, TensorView maxima,
                   const VocabularyPart& part, bool gradient, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  if (N == 0) return;
  dispatch_cuda_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto pack) {
      ce_sums_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(sums), data_of<T>(logits), data_of<std::int32_t>(labels),
          data_of<T>(maxima), part.first, static_cast<int>(V), gradient);
      check_launch();
    };
    with_packs<T>(launch, V, data_of<T>(logits));
  });
}

void add_split_ce_loss(TensorView sum, TensorView logits, TensorView labels, TensorView sums,
                       const VocabularyPart& part, double gradient_scale, bool gradient,
                       Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  if (N == 0) return;
  const Tensor losses(stream, {N}, DType::kFloat64);
  dispatch_cuda_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto pack) {
      ce_kernel<T, pack()><<<static_cast<unsigned>(N), kRowThreads, 0, native(stream)>>>(
          data_of<double>(losses), data_of<T>(logits), data_of<std::int32_t>(labels),
          data_of<double>(sums), part.first, static_cast<int>(V), gradient_scale, gradient);
      check_launch();
    };
    with_packs<T>(launch, V, data_of<T>(logits));
  });
  add_rows(sum, losses, labels, part.size, stream);
}

}  // namespace halo::kernels::cuda
