#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace halo::kernels::cpu {

// Elementary functions written so that loops over them vectorise: no branches, no tables, no calls.

inline constexpr std::int64_t kExpCost = 8;  // of an element, against an addition's 1

/// e^x in float32 with an error below 1.1 ulp for x >= -87.3; 0 for what would be below the normal range, infinity
/// above it, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7, times 2^n in
/// two steps.
inline float exp_approx(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693145751953125f;         // few bits, so that n * kLn2High is exact
  constexpr float kLn2Low = 1.42860682030941723212e-6f;  // the rest of ln 2
  constexpr float kRound = 12582912.0f;                  // 1.5 * 2^23: adding it rounds to whole
  // Bounds by selects: min and max would lose NaN.
  const float bounded = x < -88.0f ? -88.0f : (x > 89.0f ? 89.0f : x);
  const float shifted = bounded * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (bounded - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  // n in [-127, 128] lies in the low bits of `shifted`; 2^n as two factors that are normal numbers.
  const std::int32_t whole =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
  const std::int32_t half = whole >> 1;
  const float first = std::bit_cast<float>((half + 127) << 23);
  const float second = std::bit_cast<float>((whole - half + 127) << 23);
  const float value = p * first * second;
  return x < -87.33654f ? 0.0f : value;
}
inline double exp_approx(double x) { return std::exp(x); }

}  // namespace halo::kernels::cpu
