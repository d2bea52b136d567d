#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/base/error.h"

namespace halo {

/// A bfloat16 value: the upper half of a float32. Conversion from float rounds to nearest even and keeps NaN a NaN.
struct BFloat16 {
  std::uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float value);
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// An IEEE 754 half. For files only: no kernel computes in it.
struct Float16 {
  std::uint16_t bits = 0;
  Float16() = default;
  explicit Float16(float value);
  explicit operator float() const;
};

enum class DType : std::uint8_t {
  kFloat64,
  kFloat32,
  kBFloat16,
  kFloat16,
  kInt64,
  kInt32,
  kUint32,
  kUint16,
  kUint8,
};

[[nodiscard]] std::size_t dtype_size(DType dtype);       // bytes of one element
[[nodiscard]] std::string_view dtype_name(DType dtype);  // "float32", ...

/// The C++ type's DType: dtype_of<float>() == DType::kFloat32.
template <class T>
[[nodiscard]] constexpr DType dtype_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, double>)
    return DType::kFloat64;
  else if constexpr (std::is_same_v<U, float>)
    return DType::kFloat32;
  else if constexpr (std::is_same_v<U, BFloat16>)
    return DType::kBFloat16;
  else if constexpr (std::is_same_v<U, Float16>)
    return DType::kFloat16;
  else if constexpr (std::is_same_v<U, std::int64_t>)
    return DType::kInt64;
  else if constexpr (std::is_same_v<U, std::int32_t>)
    return DType::kInt32;
  else if constexpr (std::is_same_v<U, std::uint32_t>)
    return DType::kUint32;
  else if constexpr (std::is_same_v<U, std::uint16_t>)
    return DType::kUint16;
  else {
    static_assert(std::is_same_v<U, std::uint8_t>, "no DType for this C++ type");
    return DType::kUint8;
  }
}

/// What sums, states, losses, gradients and masters are kept in: float64 in FP64 mode, float32 otherwise.
[[nodiscard]] constexpr DType wide_dtype(DType dtype) {
  return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Calls `body` with a value of the C++ type that the CPU kernels compute in: double or float. Throws Error for others.
template <class Body>
void dispatch_cpu_float(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kFloat64:
      return body(double{});
    case DType::kFloat32:
      return body(float{});
    default:
      break;
  }
  throw Error(str("the CPU kernels compute in float32 and float64, not in ", dtype_name(dtype)));
}

/// Calls `body` with a value of any floating type that weights and files come in.
template <class Body>
void dispatch_float(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kFloat64:
      return body(double{});
    case DType::kFloat32:
      return body(float{});
    case DType::kBFloat16:
      return body(BFloat16{});
    case DType::kFloat16:
      return body(Float16{});
    default:
      break;
  }
  throw Error(str("expected a floating dtype, not ", dtype_name(dtype)));
}

}  // namespace halo
