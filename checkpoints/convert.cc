#include "checkpoints/convert.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

namespace halo::checkpoints {
namespace {

template <class T>
constexpr bool kIsFloat = std::is_same_v<T, double> || std::is_same_v<T, float> ||
                          std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>;

template <class Body>
void dispatch(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kInt64:
      return body(std::int64_t{});
    case DType::kInt32:
      return body(std::int32_t{});
    case DType::kUint32:
      return body(std::uint32_t{});
    case DType::kUint16:
      return body(std::uint16_t{});
    case DType::kUint8:
      return body(std::uint8_t{});
    default:
      return dispatch_float(dtype, body);
  }
}

/// A float64 as a float32 that rounds on to a 16-bit float as the float64 itself would: truncated, with the last bit
/// set when that lost anything (rounding to odd; Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded
/// sums").
float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (std::isnan(value) || static_cast<double>(nearest) == value) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1u);
}

template <class To, class From>
To convert_float(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, double>) {
    if constexpr (std::is_same_v<To, float>) {
      return static_cast<float>(value);
    } else {
      return To(round_to_odd(value));
    }
  } else if constexpr (std::is_same_v<To, double>) {
    return static_cast<double>(static_cast<float>(value));
  } else {
    return To(static_cast<float>(value));
  }
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Calls body(out row, in row) for each innermost row of two views of one shape.
template <class Body>
void for_each_row(const TensorView& out, const TensorView& in, const Body& body) {
  if (out.size() == 0) return;
  if (out.rank() <= 1) return body(out, in);
  for (std::int64_t i = 0; i < out.dim(0); ++i) {
    for_each_row(out.select(0, i), in.select(0, i), body);
  }
}

/// The same elements as one row where both views are dense, so that small rows cost nothing.
void flatten(TensorView& out, TensorView& in) {
  if (!out.contiguous() || !in.contiguous()) return;
  const Shape flat{out.size()};
  out = out.reshape(flat);
  in = in.reshape(flat);
}

template <class To, class From>
void convert_row(const TensorView& out, const TensorView& in, std::string_view place) {
  const std::int64_t n = out.size();
  const std::int64_t out_step =
      out.rank() == 0 ? 0 : out.stride(0) * static_cast<std::int64_t>(sizeof(To));
  const std::int64_t in_step =
      in.rank() == 0 ? 0 : in.stride(0) * static_cast<std::int64_t>(sizeof(From));
  auto* to = static_cast<std::byte*>(out.data);
  const auto* from = static_cast<const std::byte*>(in.data);
  for (std::int64_t i = 0; i < n; ++i, to += out_step, from += in_step) {
    const From value = load<From>(from);
    To result;
    if constexpr (kIsFloat<To>) {
      result = convert_float<To>(value);
    } else {
      HALO_REQUIRE_INPUT(std::in_range<To>(value),
                         str(place, ": element ", i, " is ", +value, ", which does not fit ",
                             dtype_name(out.dtype)));
      result = static_cast<To>(value);
    }
    std::memcpy(to, &result, sizeof result);
  }
}

void copy_row(const TensorView& out, const TensorView& in) {
  const std::size_t size = dtype_size(out.dtype);
  const auto n = static_cast<std::size_t>(out.size());
  const bool dense = n == 1 || (out.stride(0) == 1 && in.stride(0) == 1);
  if (dense) {
    std::memcpy(out.data, in.data, n * size);
    return;
  }
  auto* to = static_cast<std::byte*>(out.data);
  const auto* from = static_cast<const std::byte*>(in.data);
  for (std::size_t i = 0; i < n; ++i) {
    std::memcpy(to, from, size);
    to += out.stride(0) * static_cast<std::int64_t>(size);
    from += in.stride(0) * static_cast<std::int64_t>(size);
  }
}

}  // namespace

void convert(TensorView out, TensorView in, std::string_view place) {
  HALO_REQUIRE(out.shape == in.shape, str(place, ": shape ", to_string(in.shape),
                                          " read into one of ", to_string(out.shape)));
  HALO_REQUIRE(out.device == Device::kCpu && in.device == Device::kCpu,
               "convert works on host memory");
  if (out.size() == 0) return;
  flatten(out, in);
  if (out.dtype == in.dtype) return for_each_row(out, in, copy_row);
  dispatch(out.dtype, [&](auto to) {
    dispatch(in.dtype, [&](auto from) {
      using To = decltype(to);
      using From = decltype(from);
      if constexpr (kIsFloat<To> == kIsFloat<From>) {
        for_each_row(out, in, [&](const TensorView& out_row, const TensorView& in_row) {
          convert_row<To, From>(out_row, in_row, place);
        });
      } else {
        throw InputError(
            str(place, ": is ", dtype_name(in.dtype), ", wanted ", dtype_name(out.dtype)));
      }
    });
  });
}

std::int64_t nonfinite_elements(TensorView in) {
  if (in.size() == 0) return 0;
  std::int64_t count = 0;
  dispatch(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (kIsFloat<T>) {
      TensorView same = in;
      flatten(in, same);
      for_each_row(in, same, [&](const TensorView& row, const TensorView&) {
        const auto* from = static_cast<const std::byte*>(row.data);
        const std::int64_t step = row.rank() == 0 ? 0 : row.stride(0);
        for (std::int64_t i = 0; i < row.size(); ++i) {
          const double value = convert_float<double>(
              load<T>(from + i * step * static_cast<std::int64_t>(sizeof(T))));
          count += std::isfinite(value) ? 0 : 1;
        }
      });
    }
  });
  return count;
}

}  // namespace halo::checkpoints
