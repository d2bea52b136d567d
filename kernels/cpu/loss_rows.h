#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/vector_math.h"

namespace halo::kernels::cpu {

// Rows of logits: what the losses over whole and over split vocabularies share.

inline constexpr std::int64_t kSumLength =
    1024;  // elements summed in T before their sum is added in float64

/// work(begin, end, losses) on shares of the N rows writes losses[n] of each; returns their sum in the order of rows.
template <class Work>
double sum_of_rows(std::int64_t N, std::int64_t cost, Stream& stream, Work&& work) {
  const Tensor memory(stream, {N}, DType::kFloat64);
  auto* const losses = memory.view().as<double>();
  stream.parallel_for(N, cost,
                      [&](std::int64_t begin, std::int64_t end) { work(begin, end, losses); });
  double total = 0;
  for (std::int64_t n = 0; n < N; ++n) total += losses[n];
  return total;
}

/// Whether row n counts; `counted` null: all do.
inline bool counts(const std::uint8_t* counted, std::int64_t n) {
  return counted == nullptr || counted[n] != 0;
}

/// The gradient and the loss of a row that does not count.
template <class T>
double no_loss(T* gradient, std::int64_t n) {
  std::fill_n(gradient, n, T{0});
  return 0;
}

/// Sum of e^(x - maximum). With kStore the exponentials are written too; `exponentials` may be x.
template <bool kStore, class T>
double sum_of_exponentials(T* exponentials, const T* x, std::int64_t V, T maximum) {
  double total = 0;
  for (std::int64_t begin = 0; begin < V; begin += kSumLength) {
    const std::int64_t end = std::min(V, begin + kSumLength);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) {
      const T e = exp_approx(x[i] - maximum);
      if constexpr (kStore) exponentials[i] = e;
      sum += e;
    }
    total += static_cast<double>(sum);
  }
  return total;
}

/// 1/2!, 1/3!, ...: enough terms of `excess` for |l| <= 1/2 in T.
template <class T>
constexpr auto inverse_factorials() {
  std::array<T, std::is_same_v<T, double> ? 14 : 7> values{};
  double factorial = 1;
  for (std::size_t k = 0; k < values.size(); ++k) {
    factorial *= static_cast<double>(k + 2);
    values[k] = static_cast<T>(1 / factorial);
  }
  return values;
}

/// l + e^-l - 1, for |l| <= 1/2: l^2 (1/2 - l/6 + ...), since the plain form cancels.
template <class T>
T excess(T l) {
  constexpr auto kTerms = inverse_factorials<T>();
  T p = kTerms.back();
#pragma GCC unroll 16
  for (std::size_t k = kTerms.size() - 1; k > 0; --k) p = kTerms[k - 1] - l * p;
  return l * l * p;
}

/// Sums over a row, with l = (y - m_t) - (z - m_s) the difference of the shifted logits.
struct KlSums {
  double teacher = 0, student = 0;  // of e^(y - m_t) and e^(z - m_s)
  double linear = 0;                // of e^(y - m_t) l
  double moment = 0;                // of e^(y - m_t) (e^-l - 1), the difference of the two
  double excess = 0;                // of e^(y - m_t) (e^-l - 1 + l), no term negative
};

/// Overwrites both rows' logits, `y` in another place or its own, with their exponentials.
template <class T>
KlSums kl_sums(T* z, T* y_exponentials, const T* y, std::int64_t V, T max_z, T max_y) {
  KlSums total;
  for (std::int64_t begin = 0; begin < V; begin += kSumLength) {
    const std::int64_t end = std::min(V, begin + kSumLength);
    T teacher = 0, student = 0, linear = 0, moments = 0, excesses = 0;
#pragma omp simd reduction(+ : teacher, student, linear, moments, excesses)
    for (std::int64_t i = begin; i < end; ++i) {
      const T a = y[i] - max_y, b = z[i] - max_z;
      const T p = exp_approx(a), q = exp_approx(b);
      const T l = a - b;
      const bool near = std::abs(l) <= T(0.5);
      const T near_excess = p * excess(l);
      const T moment = near ? near_excess - p * l : q - p;
      z[i] = q;
      y_exponentials[i] = p;
      teacher += p;
      student += q;
      linear += p * l;
      moments += moment;
      excesses += near ? near_excess : p * l + moment;
    }
    total.teacher += static_cast<double>(teacher);
    total.student += static_cast<double>(student);
    total.linear += static_cast<double>(linear);
    total.moment += static_cast<double>(moments);
    total.excess += static_cast<double>(excesses);
  }
  return total;
}

/// KL = A / Z_t + ln(Z_s / Z_t), A the linear sum. Near 0 the two cancel; with A = excess - moment and Z_s / Z_t = 1 +
/// moment / Z_t what they have in common is taken away before it is rounded.
inline double kl_of(const KlSums& sums) {
  const double moment = sums.moment / sums.teacher;
  if (std::abs(moment) < 0.5) return sums.excess / sums.teacher - (moment - std::log1p(moment));
  return sums.linear / sums.teacher + (std::log(sums.student) - std::log(sums.teacher));
}

/// The student's exponentials z become its gradient; y are the teacher's.
template <class T>
void kl_row_gradient(T* z, const T* y, std::int64_t V, const KlSums& sums, double gradient_scale) {
  // As one factor of a difference, so that equal logits give 0 also where a product and a sum are fused.
  const auto factor = static_cast<T>(gradient_scale / sums.student);
  const auto ratio = static_cast<T>(sums.student / sums.teacher);
#pragma omp simd
  for (std::int64_t i = 0; i < V; ++i) z[i] = factor * (z[i] - y[i] * ratio);
}

}  // namespace halo::kernels::cpu
