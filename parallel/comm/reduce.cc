#include "parallel/comm/reduce.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

namespace halo::comm {
namespace {

template <class T>
struct Sum {
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  }
};

template <class T>
struct Max {
  T operator()(T a, T b) const {
    // b also when b is NaN. No short circuit, which would keep the loop from being vectorised.
    const bool first = static_cast<bool>(static_cast<int>(a > b) | static_cast<int>(a != a));
    return first ? a : b;
  }
};

/// What a chunk is summed up in: bfloat16 is rounded once, at the end.
template <class T>
using Running = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;

/// In chunks that stay in the first-level cache, so that each source and `out` are read and written once.
template <class T, class Op>
void reduce(std::byte* out, std::span<const std::byte* const> sources, std::size_t count, Op op) {
  using R = Running<T>;
  std::array<R, 512> sums;
  for (std::size_t begin = 0; begin < count; begin += sums.size()) {
    const std::size_t n = std::min(sums.size(), count - begin);
    const T* first = reinterpret_cast<const T*>(sources[0]) + begin;
    for (std::size_t i = 0; i < n; ++i) sums[i] = static_cast<R>(first[i]);
    for (const std::byte* source : sources.subspan(1)) {
      const T* values = reinterpret_cast<const T*>(source) + begin;
      for (std::size_t i = 0; i < n; ++i) sums[i] = op(sums[i], static_cast<R>(values[i]));
    }
    T* const to = reinterpret_cast<T*>(out) + begin;
    for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<T>(sums[i]);
  }
}

template <class T>
void reduce(std::byte* out, std::span<const std::byte* const> sources, std::size_t count,
            ReduceOp op) {
  if (op == ReduceOp::kSum) {
    reduce<T>(out, sources, count, Sum<Running<T>>{});
  } else {
    reduce<T>(out, sources, count, Max<Running<T>>{});
  }
}

}  // namespace

void require_reducible(DType dtype) {
  HALO_REQUIRE(
      dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBFloat16 ||
          dtype == DType::kInt64 || dtype == DType::kInt32,
      str("reductions take float64, float32, bfloat16, int64 and int32, not ", dtype_name(dtype)));
}

void reduce_in_rank_order(std::byte* out, std::span<const std::byte* const> sources,
                          std::size_t count, Reduction reduction) {
  switch (reduction.dtype) {
    case DType::kFloat64:
      return reduce<double>(out, sources, count, reduction.op);
    case DType::kFloat32:
      return reduce<float>(out, sources, count, reduction.op);
    case DType::kBFloat16:
      return reduce<BFloat16>(out, sources, count, reduction.op);
    case DType::kInt64:
      return reduce<std::int64_t>(out, sources, count, reduction.op);
    case DType::kInt32:
      return reduce<std::int32_t>(out, sources, count, reduction.op);
    default:
      require_reducible(reduction.dtype);
  }
}

}  // namespace halo::comm
