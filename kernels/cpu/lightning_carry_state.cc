#include "core/base/tensor_view.h"
#include "kernels/lightning_attention.h"

namespace halo::kernels::cpu {

void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream) {
  const std::int64_t heads = kept.size(), size = out.size() / std::max<std::int64_t>(heads, 1);
  dispatch_cpu_float(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* const to = out.as<T>();
    const T *from = in.as<T>(), *added = own.as<T>(), *factors = kept.as<T>();
    stream.parallel_for(heads, size, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * size; i < end * size; ++i)
        to[i] = factors[i / size] * from[i] + added[i];
    });
  });
}

}  // namespace halo::kernels::cpu
