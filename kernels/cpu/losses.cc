#include "kernels/losses.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/loss_rows.h"

namespace halo::kernels::cpu {
namespace {

void check_labels(const std::int32_t* labels, std::int64_t N, std::int64_t V) {
  for (std::int64_t n = 0; n < N; ++n) {
    HALO_REQUIRE(labels[n] >= -1 && labels[n] < V,
                 str("label ", labels[n], " of row ", n, " is outside [-1, ", V, ")"));
  }
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

template <class T>
double kl_row(T* z, const T* y, T* scratch, std::int64_t V, double gradient_scale) {
  const KlSums sums = kl_sums(z, scratch, y, V, max_of(z, V), max_of(y, V));
  kl_row_gradient(z, scratch, V, sums, gradient_scale);
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
