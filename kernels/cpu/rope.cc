#include "kernels/rope.h"

#include <cmath>
#include <vector>

namespace halo::kernels::cpu {

void rope_tables(TensorView cos, TensorView sin, std::int64_t first_position, double theta,
                 Stream& stream) {
  const std::int64_t half = cos.dim(1);
  dispatch_cpu_float(cos.dtype, [&](auto zero) {
    using T = decltype(zero);
    std::vector<T> frequency(static_cast<std::size_t>(half));
    for (std::int64_t i = 0; i < half; ++i) {
      const double exponent = -static_cast<double>(i) / static_cast<double>(half);
      frequency[static_cast<std::size_t>(i)] = static_cast<T>(std::pow(theta, exponent));
    }
    auto* const c = cos.as<T>();
    auto* const s = sin.as<T>();
    stream.parallel_for(cos.dim(0), 64 * half, [&, c, s](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        for (std::int64_t i = 0; i < half; ++i) {
          const T angle =
              static_cast<T>(first_position + t) * frequency[static_cast<std::size_t>(i)];
          c[t * half + i] = static_cast<T>(std::cos(static_cast<double>(angle)));
          s[t * half + i] = static_cast<T>(std::sin(static_cast<double>(angle)));
        }
      }
    });
  });
}

void apply_rope(TensorView x, TensorView cos, TensorView sin, bool inverse, Stream& stream) {
  const std::int64_t heads = x.dim(1) * x.dim(2), half = x.dim(3) / 2;
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const data = x.as<T>();
    const auto* const cosines = cos.as<T>();
    const auto* const sines = sin.as<T>();
    const T sign = inverse ? T{-1} : T{1};
    stream.parallel_for(x.dim(0), 2 * heads * half, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* c = cosines + t * half;
        const T* s = sines + t * half;
        for (std::int64_t h = 0; h < heads; ++h) {
          T* low = data + (t * heads + h) * 2 * half;
          T* high = low + half;
#pragma omp simd
          for (std::int64_t i = 0; i < half; ++i) {
            const T a = low[i], b = high[i], sine = sign * s[i];
            low[i] = a * c[i] - b * sine;
            high[i] = b * c[i] + a * sine;
          }
        }
      }
    });
  });
}

void scale_by_position(TensorView x, std::int64_t first_position, double base, Stream& stream) {
  const std::int64_t row = x.dim(1) * x.dim(2) * x.dim(3);
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const data = x.as<T>();
    stream.parallel_for(x.dim(0), row, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const double factor =
            std::log(static_cast<double>(first_position + t) + base) / std::log(base);
        T* values = data + t * row;
        for (std::int64_t i = 0; i < row; ++i) {
          values[i] = static_cast<T>(static_cast<double>(values[i]) * factor);
        }
      }
    });
  });
}

}  // namespace halo::kernels::cpu
