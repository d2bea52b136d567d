#include "kernels/cuda/loss_rows.cuh"

namespace halo::kernels::cuda {
namespace {

constexpr int kThreads = 1024;

/// result = the sum of the losses, unless they are null, and the first row whose label is outside [-1, V), or -1.
__global__ __launch_bounds__(kThreads) void finish_kernel(double* result, const double* losses,
                                                          const std::int32_t* labels,
                                                          std::int64_t N, std::int64_t V) {
  __shared__ unsigned long long first_bad;
  if (threadIdx.x == 0) first_bad = static_cast<unsigned long long>(N);
  __syncthreads();
  double sum[1] = {0};
  for (std::int64_t n = threadIdx.x; n < N; n += kThreads) {
    if (losses != nullptr) sum[0] += losses[n];
    if (labels != nullptr && (labels[n] < -1 || labels[n] >= V))
      atomicMin(&first_bad, static_cast<unsigned long long>(n));
  }
  block_sum<kThreads>(sum);
  if (threadIdx.x != 0) return;
  const auto bad = static_cast<std::int64_t>(first_bad);
  result[0] = sum[0];
  result[1] = bad == N ? -1 : static_cast<double>(bad);
}

double finish(const double* losses, TensorView labels, std::int64_t N, std::int64_t V,
              Stream& stream) {
  if (N == 0) return 0;
  const Tensor memory(stream, {2}, DType::kFloat64);
  finish_kernel<<<1, kThreads, 0, native(stream)>>>(
      data_of<double>(memory), losses, labels.empty() ? nullptr : data_of<std::int32_t>(labels), N,
      V);
  check_launch();
  double result[2];
  copy(view(result, {2}), memory, stream);
  if (result[1] >= 0) {
    const auto row = static_cast<std::int64_t>(result[1]);
    std::int32_t label = 0;
    copy(view(&label, {1}), labels.slice(0, row, row + 1), stream);
    throw Error(str("label ", label, " of row ", row, " is outside [-1, ", V, ")"));
  }
  return result[0];
}

}  // namespace

double sum_of_rows(TensorView losses, Stream& stream) {
  return finish(data_of<double>(losses), {}, losses.dim(0), 0, stream);
}

double sum_of_rows(TensorView losses, TensorView labels, std::int64_t V, Stream& stream) {
  return finish(data_of<double>(losses), labels, losses.dim(0), V, stream);
}

void check_labels(TensorView labels, std::int64_t V, Stream& stream) {
  static_cast<void>(finish(nullptr, labels, labels.dim(0), V, stream));
}

}  // namespace halo::kernels::cuda
