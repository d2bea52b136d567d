#include "kernels/cuda/softmax_attention_tiles.cuh"

namespace halo::kernels::cuda {
namespace {

using softmax_tiles::HeadRows;

constexpr int kThreads = 256;

template <class T>
struct Merge {
  HeadRows<T> o, part;
  float *lse, *part_lse;  // (T, B, H)
  std::int64_t count;
  int B, H, K;
};

/// kLanes lanes a row, each N channels at a time.
template <class T, int N, int kLanes>
__global__ void __launch_bounds__(kThreads) merge_rows(const __grid_constant__ Merge<T> x) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const int lane = threadIdx.x % kLanes;
  const bool valid = row < x.count;
  const float lse = valid ? x.lse[row] : 0, part_lse = valid ? x.part_lse[row] : 0;
  __syncwarp();  // the row's lanes have read lse, which one of them writes
  const float highest = fmaxf(lse, part_lse);
  if (!valid || isinf(highest)) return;  // neither saw a key: o is 0 and stays so
  const float kept = expf(lse - highest), added = expf(part_lse - highest);
  const float inverse = 1 / (kept + added);
  const int h = static_cast<int>(row % x.H), b = static_cast<int>(row / x.H % x.B);
  const std::int64_t t = row / x.H / x.B;
  T* const o = x.o.at(t, b, h);
  const T* const part = x.part.at(t, b, h);
  for (int k = lane * N; k < x.K; k += kLanes * N) {
    auto a = *reinterpret_cast<const Pack<T, N>*>(o + k);
    const auto p = *reinterpret_cast<const Pack<T, N>*>(part + k);
#pragma unroll
    for (int j = 0; j < N; ++j)
      a.at[j] = from_float<T>((kept * to_float(a.at[j]) + added * to_float(p.at[j])) * inverse);
    *reinterpret_cast<Pack<T, N>*>(o + k) = a;
  }
  if (lane == 0) x.lse[row] = highest + logf(kept + added);
}

template <class T, int N>
void merge(const Merge<T>& x, const Stream& stream) {
  const auto launch = [&](auto lanes, auto kernel) {
    const std::int64_t blocks = (x.count * lanes + kThreads - 1) / kThreads;
    HALO_REQUIRE(blocks <= std::numeric_limits<std::int32_t>::max(),
                 str("merge_attention: ", x.count, " rows, more than a grid has"));
    kernel<<<static_cast<unsigned>(blocks), kThreads, 0, native(stream)>>>(x);
    check_launch();
  };
  if (x.K <= 8 * N) return launch(8, merge_rows<T, N, 8>);
  if (x.K <= 16 * N) return launch(16, merge_rows<T, N, 16>);
  launch(32, merge_rows<T, N, 32>);
}

}  // namespace

void merge_attention(TensorView o, TensorView lse, TensorView o_part, TensorView lse_part,
                     Stream& stream) {
  if (o.size() == 0) return;
  dispatch_cuda_float(o.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Merge<T> x{HeadRows<T>(o),
                     HeadRows<T>(o_part),
                     data_of<float>(lse),
                     data_of<float>(lse_part),
                     o.dim(0) * o.dim(1) * o.dim(2),
                     static_cast<int>(o.dim(1)),
                     static_cast<int>(o.dim(2)),
                     static_cast<int>(o.dim(3))};
    if (x.o.packed && x.part.packed)
      merge<T, kPack<T>>(x, stream);
    else
      merge<T, 1>(x, stream);
  });
}

}  // namespace halo::kernels::cuda
