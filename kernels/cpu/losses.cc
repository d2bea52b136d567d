#include "kernels/losses.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "core/base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/vector_math.h"

namespace halo::kernels::cpu {
namespace {

constexpr std::int64_t kSumLength =
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
bool counts(const std::uint8_t* counted, std::int64_t n) {
  return counted == nullptr || counted[n] != 0;
}

void check_labels(const std::int32_t* labels, std::int64_t N, std::int64_t V) {
  for (std::int64_t n = 0; n < N; ++n) {
    HALO_REQUIRE(labels[n] >= -1 && labels[n] < V,
                 str("label ", labels[n], " of row ", n, " is outside [-1, ", V, ")"));
  }
}

/// The gradient and the loss of a row that does not count.
template <class T>
double no_loss(T* gradient, std::int64_t n) {
  std::fill_n(gradient, n, T{0});
  return 0;
}

template <class T>
double mse_row(T* gradient, const T* student, const T* teacher, std::int64_t D, T factor) {
  const double squares = sum_of<double>(D, [=](std::int64_t d) {
    const auto difference = static_cast<double>(student[d] - teacher[d]);
    return difference * difference;
  });
#pragma omp simd
  for (std::int64_t d = 0; d < D; ++d) gradient[d] = factor * (student[d] - teacher[d]);
  return squares;
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

/// Overwrites both rows' logits, `y` in another place, with their exponentials.
template <class T>
KlSums kl_sums(T* z, T* y_exponentials, const T* y, std::int64_t V) {
  const T max_z = max_of(z, V), max_y = max_of(y, V);
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
double kl_of(const KlSums& sums) {
  const double moment = sums.moment / sums.teacher;
  if (std::abs(moment) < 0.5) return sums.excess / sums.teacher - (moment - std::log1p(moment));
  return sums.linear / sums.teacher + (std::log(sums.student) - std::log(sums.teacher));
}

template <class T>
double kl_row(T* z, const T* y, T* scratch, std::int64_t V, double gradient_scale) {
  const KlSums sums = kl_sums(z, scratch, y, V);
  // As one factor of a difference, so that equal logits give 0 also where a product and a sum are fused.
  const auto factor = static_cast<T>(gradient_scale / sums.student);
  const auto ratio = static_cast<T>(sums.student / sums.teacher);
#pragma omp simd
  for (std::int64_t i = 0; i < V; ++i) z[i] = factor * (z[i] - scratch[i] * ratio);
  return kl_of(sums);
}

/// -log softmax(logits)[label]; the logits become the gradient.
template <class T>
double ce_row_gradient(T* logits, std::int64_t V, std::int32_t label, double gradient_scale) {
  const T maximum = max_of(logits, V);
  const double target = static_cast<double>(logits[label]) - static_cast<double>(maximum);
  const double sum = sum_of_exponentials<true>(logits, logits, V, maximum);
  const auto factor = static_cast<T>(gradient_scale / sum);
#pragma omp simd
  for (std::int64_t i = 0; i < V; ++i) logits[i] *= factor;
  logits[label] -= static_cast<T>(gradient_scale);
  return std::log(sum) - target;
}

/// The same, logits unchanged.
template <class T>
double ce_row(const T* logits, std::int64_t V, std::int32_t label, T maximum) {
  const double target = static_cast<double>(logits[label]) - static_cast<double>(maximum);
  return std::log(sum_of_exponentials<false, T>(nullptr, logits, V, maximum)) - target;
}

}  // namespace

double mse_loss(TensorView dstudent, TensorView student, TensorView teacher, TensorView counted,
                double gradient_scale, Stream& stream) {
  const std::int64_t N = student.dim(0), D = student.dim(1);
  const auto* const mask = counted.empty() ? nullptr : counted.as<std::uint8_t>();
  double loss = 0;
  dispatch_cpu_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const gradient = dstudent.as<T>();
    const auto* const s = student.as<T>();
    const auto* const t = teacher.as<T>();
    const auto factor = static_cast<T>(2 * gradient_scale);
    const auto rows = [=](std::int64_t begin, std::int64_t end, double* losses) {
      for (std::int64_t n = begin; n < end; ++n) {
        losses[n] = counts(mask, n) ? mse_row(gradient + n * D, s + n * D, t + n * D, D, factor)
                                    : no_loss(gradient + n * D, D);
      }
    };
    loss = sum_of_rows(N, 2 * D, stream, rows);
  });
  return loss;
}

double kl_loss(TensorView student, TensorView teacher, TensorView counted, double gradient_scale,
               Stream& stream) {
  const std::int64_t N = student.dim(0), V = student.dim(1);
  const auto* const mask = counted.empty() ? nullptr : counted.as<std::uint8_t>();
  double loss = 0;
  dispatch_cpu_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const z = student.as<T>();
    const auto* const y = teacher.as<T>();
    const auto rows = [=, &stream](std::int64_t begin, std::int64_t end, double* losses) {
      const Tensor scratch(stream, {V}, dtype_of<T>());
      auto* const p = scratch.view().template as<T>();
      for (std::int64_t n = begin; n < end; ++n) {
        losses[n] = counts(mask, n) ? kl_row(z + n * V, y + n * V, p, V, gradient_scale)
                                    : no_loss(z + n * V, V);
      }
    };
    loss = sum_of_rows(N, 2 * kExpCost * V, stream, rows);
  });
  return loss;
}

double ce_loss(TensorView logits, TensorView labels, double gradient_scale, bool gradient,
               Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  const auto* const label = labels.as<std::int32_t>();
  check_labels(label, N, V);
  double loss = 0;
  dispatch_cpu_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const z = logits.as<T>();
    const auto rows = [=](std::int64_t begin, std::int64_t end, double* losses) {
      for (std::int64_t n = begin; n < end; ++n) {
        T* const row = z + n * V;
        if (gradient) {
          losses[n] =
              label[n] >= 0 ? ce_row_gradient(row, V, label[n], gradient_scale) : no_loss(row, V);
        } else {
          losses[n] = label[n] >= 0 ? ce_row(row, V, label[n], max_of(row, V)) : 0;
        }
      }
    };
    loss = sum_of_rows(N, kExpCost * V, stream, rows);
  });
  return loss;
}

void token_log_likelihood(TensorView row_loss, TensorView greedy, TensorView logits,
                          TensorView labels, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  auto* const losses = row_loss.empty() ? nullptr : row_loss.as<double>();
  auto* const best = greedy.empty() ? nullptr : greedy.as<std::int32_t>();
  const auto* const label = losses == nullptr ? nullptr : labels.as<std::int32_t>();
  if (label != nullptr) check_labels(label, N, V);
  dispatch_cpu_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto* const z = logits.as<T>();
    stream.parallel_for(N, kExpCost * V, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const T* const row = z + n * V;
        const T maximum = max_of(row, V);
        if (losses != nullptr) losses[n] = label[n] < 0 ? 0 : ce_row(row, V, label[n], maximum);
        if (best == nullptr) continue;
        const T* const found = std::find(row, row + V, maximum);
        best[n] = found == row + V ? 0 : static_cast<std::int32_t>(found - row);  // all NaN: 0
      }
    });
  });
}

}  // namespace halo::kernels::cpu
