#include <cmath>

#include "core/base/stream.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/loops.h"
#include "kernels/softmax_attention.h"

namespace halo::kernels::cpu {
namespace {

template <class T>
void merge_row(T* o, T& lse, const T* part, T part_lse, std::int64_t K) {
  const T highest = std::max(lse, part_lse);
  if (std::isinf(highest)) return;  // neither saw a key: o is 0 and stays so
  const T kept = std::exp(lse - highest), added = std::exp(part_lse - highest);
  const T inverse = 1 / (kept + added);
  for (std::int64_t i = 0; i < K; ++i) o[i] = (kept * o[i] + added * part[i]) * inverse;
  lse = highest + std::log(kept + added);
}

}  // namespace

void merge_attention(TensorView o, TensorView lse, TensorView o_part, TensorView lse_part,
                     Stream& stream) {
  const std::int64_t T = o.dim(0), B = o.dim(1), H = o.dim(2), K = o.dim(3);
  dispatch_cpu_float(o.dtype, [&](auto zero) {
    using Real = decltype(zero);
    auto* const l = lse.as<Real>();
    const auto* const part = lse_part.as<Real>();
    stream.parallel_for(T * B * H, 2 * K, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t t = i / (B * H), b = i / H % B, h = i % H;
        merge_row(head_row<Real>(o, t, b, h), l[i], head_row<Real>(o_part, t, b, h), part[i], K);
      }
    });
  });
}

}  // namespace halo::kernels::cpu
