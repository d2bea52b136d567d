#include "kernels/cuda/loss_rows.cuh"
#include "kernels/losses.h"

namespace halo::kernels::cuda {
namespace {

constexpr int kThreads = 1024;

[[nodiscard]] __device__ __forceinline__ bool is_bad(std::int32_t label, std::int64_t V) {
  return label < -1 || label >= V;
}

/// Labels may be null.
__global__ __launch_bounds__(kThreads) void add_kernel(double* result, const double* losses,
                                                       const std::int32_t* labels, std::int64_t N,
                                                       std::int64_t V) {
  double sum[1] = {0};
  for (std::int64_t n = threadIdx.x; n < N; n += kThreads)
    sum[0] += labels != nullptr && is_bad(labels[n], V) ? nan("") : losses[n];
  block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *result += sum[0];
}

/// first = the first row whose label is bad, or N.
__global__ __launch_bounds__(kThreads) void find_bad_label(unsigned long long* first,
                                                           const std::int32_t* labels,
                                                           std::int64_t N, std::int64_t V) {
  __shared__ unsigned long long found;
  if (threadIdx.x == 0) found = static_cast<unsigned long long>(N);
  __syncthreads();
  for (std::int64_t n = threadIdx.x; n < N; n += kThreads)
    if (is_bad(labels[n], V)) atomicMin(&found, static_cast<unsigned long long>(n));
  __syncthreads();
  if (threadIdx.x == 0) *first = found;
}

void add(TensorView sum, const double* losses, const std::int32_t* labels, std::int64_t N,
         std::int64_t V, Stream& stream) {
  if (N == 0) return;
  add_kernel<<<1, kThreads, 0, native(stream)>>>(data_of<double>(sum), losses, labels, N, V);
  check_launch();
}

}  // namespace

void add_rows(TensorView sum, TensorView losses, Stream& stream) {
  add(sum, data_of<double>(losses), nullptr, losses.dim(0), 0, stream);
}

void add_rows(TensorView sum, TensorView losses, TensorView labels, std::int64_t V,
              Stream& stream) {
  add(sum, data_of<double>(losses), data_of<std::int32_t>(labels), losses.dim(0), V, stream);
}

void check_labels(TensorView labels, std::int64_t V, Stream& stream) {
  const std::int64_t N = labels.dim(0);
  if (N == 0) return;
  const Tensor memory(stream, {1}, DType::kInt64);
  find_bad_label<<<1, kThreads, 0, native(stream)>>>(data_of<unsigned long long>(memory),
                                                     data_of<std::int32_t>(labels), N, V);
  check_launch();
  std::int64_t row = 0;
  copy(view(&row, {1}), memory, stream);
  if (row == N) return;
  std::int32_t label = 0;
  copy(view(&label, {1}), labels.slice(0, row, row + 1), stream);
  throw Error(str("label ", label, " of row ", row, " is outside [-1, ", V, ")"));
}

}  // namespace halo::kernels::cuda
