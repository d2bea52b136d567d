#include "core/base/dtype.h"

#include <cmath>

namespace halo {

BFloat16::BFloat16(float value) {
  const auto raw = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) {
    bits = static_cast<std::uint16_t>((raw >> 16) |
                                      0x40u);  // quiet, so that no payload rounds to infinity
  } else {
    bits = static_cast<std::uint16_t>((raw + 0x7fffu + ((raw >> 16) & 1u)) >> 16);
  }
}

Float16::Float16(float value) {
  const auto raw = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((raw >> 16) & 0x8000u);
  const float magnitude = std::fabs(value);
  std::uint32_t half = 0;
  if (std::isnan(value)) {
    half = 0x7e00u;
  } else if (magnitude >= 65520.0f) {
    half = 0x7c00u;
  } else if (
      magnitude <
      0x1p-14f) {  // subnormal: a multiple of 2^-24, rounded by the current (nearest even) mode
    half = static_cast<std::uint32_t>(std::nearbyint(magnitude * 0x1p24f));
  } else {
    const auto absolute = raw & 0x7fffffffu;
    half = (absolute - (112u << 23) + 0xfffu + ((absolute >> 13) & 1u)) >> 13;
  }
  bits = static_cast<std::uint16_t>(sign | half);
}

Float16::operator float() const {
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t fraction = bits & 0x3ffu;
  float magnitude = 0.0f;
  if (exponent == 0) {
    magnitude = static_cast<float>(fraction) * 0x1p-24f;
  } else if (exponent == 31) {
    magnitude = std::bit_cast<float>(0x7f800000u | (fraction << 13));
  } else {
    magnitude = std::bit_cast<float>(((exponent + 112u) << 23) | (fraction << 13));
  }
  return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
}

std::size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
    case DType::kInt64:
      return 8;
    case DType::kFloat32:
    case DType::kInt32:
    case DType::kUint32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
    case DType::kUint16:
      return 2;
    case DType::kUint8:
      return 1;
  }
  throw Error(str("no such dtype: ", static_cast<int>(dtype)));
}

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return "float64";
    case DType::kFloat32:
      return "float32";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
    case DType::kInt64:
      return "int64";
    case DType::kInt32:
      return "int32";
    case DType::kUint32:
      return "uint32";
    case DType::kUint16:
      return "uint16";
    case DType::kUint8:
      return "uint8";
  }
  return "unknown dtype";
}

}  // namespace halo
