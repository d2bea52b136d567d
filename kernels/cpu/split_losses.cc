#include "kernels/split_losses.h"

#include "kernels/cpu/loss_rows.h"

namespace halo::kernels::cpu {
namespace {

void check_labels(const std::int32_t* labels, std::int64_t N, std::int64_t V) {
  for (std::int64_t n = 0; n < N; ++n) {
    HALO_REQUIRE(labels[n] >= -1 && labels[n] < V,
                 str("split_ce_sums: label ", labels[n], " of row ", n,
                     " is outside the vocabulary of ", V));
  }
}

}  // namespace

void row_maxima(TensorView maxima, TensorView logits, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  dispatch_cpu_float(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const to = maxima.as<T>();
    const auto* const z = logits.as<T>();
    stream.parallel_for(N, V, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) to[n] = max_of(z + n * V, V);
    });
  });
}

void split_kl_sums(TensorView sums, TensorView student, TensorView teacher,
                   TensorView student_maxima, TensorView teacher_maxima, Stream& stream) {
  const std::int64_t N = student.dim(0), V = student.dim(1);
  auto* const to = sums.as<double>();
  dispatch_cpu_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto *const z = student.as<T>(), *const y = teacher.as<T>();
    const auto *const max_z = student_maxima.as<T>(), *const max_y = teacher_maxima.as<T>();
    stream.parallel_for(N, 2 * kExpCost * V, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const KlSums row = kl_sums(z + n * V, y + n * V, y + n * V, V, max_z[n], max_y[n]);
        const std::array all{row.teacher, row.student, row.linear, row.moment, row.excess};
        std::ranges::copy(all, to + 5 * n);
      }
    });
  });
}

double split_kl_loss(TensorView student, TensorView teacher, TensorView sums, TensorView counted,
                     double gradient_scale, Stream& stream) {
  const std::int64_t N = student.dim(0), V = student.dim(1);
  const auto* const mask = counted.empty() ? nullptr : counted.as<std::uint8_t>();
  const auto* const all = sums.as<double>();
  double loss = 0;
  dispatch_cpu_float(student.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const z = student.as<T>();
    const auto* const y = teacher.as<T>();
    const auto rows = [=](std::int64_t begin, std::int64_t end, double* losses) {
      for (std::int64_t n = begin; n < end; ++n) {
        const double* s = all + 5 * n;
        const KlSums row{s[0], s[1], s[2], s[3], s[4]};
        if (counts(mask, n)) {
          kl_row_gradient(z + n * V, y + n * V, V, row, gradient_scale);
          losses[n] = kl_of(row);
        } else {
          losses[n] = no_loss(z + n * V, V);
        }
      }
    };
    loss = sum_of_rows(N, 2 * V, stream, rows);
  });
  return loss;
}

void split_ce_sums(TensorView sums, TensorView logits, TensorView labels, TensorView maxima,
                   const VocabularyPart& part, bool gradient, Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  auto* const to = sums.as<double>();
  const auto* const label = labels.as<std::int32_t>();
  check_labels(label, N, part.size);
  dispatch_cpu_float(logits.dtype, [&, first = part.first](auto zero) {
    using T = decltype(zero);
    auto* const z = logits.as<T>();
    const auto* const maximum = maxima.as<T>();
    stream.parallel_for(N, kExpCost * V, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        T* const row = z + n * V;
        const std::int64_t column = label[n] - first;
        const bool here = label[n] >= 0 && column >= 0 && column < V;
        to[2 * n + 1] =
            here ? static_cast<double>(row[column]) - static_cast<double>(maximum[n]) : 0;
        to[2 * n] = gradient ? sum_of_exponentials<true>(row, row, V, maximum[n])
                             : sum_of_exponentials<false, T>(nullptr, row, V, maximum[n]);
      }
    });
  });
}

double split_ce_loss(TensorView logits, TensorView labels, TensorView sums,
                     const VocabularyPart& part, double gradient_scale, bool gradient,
                     Stream& stream) {
  const std::int64_t N = logits.dim(0), V = logits.dim(1);
  const auto* const label = labels.as<std::int32_t>();
  const auto* const all = sums.as<double>();
  double loss = 0;
  dispatch_cpu_float(logits.dtype, [&, first = part.first](auto zero) {
    using T = decltype(zero);
    auto* const z = logits.as<T>();
    const auto rows = [=](std::int64_t begin, std::int64_t end, double* losses) {
      for (std::int64_t n = begin; n < end; ++n) {
        T* const row = z + n * V;
        const bool has_label = label[n] >= 0;
        losses[n] = has_label ? std::log(all[2 * n]) - all[2 * n + 1] : 0;
        if (!gradient) continue;
        const auto factor = static_cast<T>(has_label ? gradient_scale / all[2 * n] : 0.0);
        for (std::int64_t i = 0; i < V; ++i) row[i] *= factor;
        const std::int64_t column = label[n] - first;
        if (has_label && column >= 0 && column < V) row[column] -= static_cast<T>(gradient_scale);
      }
    };
    loss = sum_of_rows(N, V, stream, rows);
  });
  return loss;
}

}  // namespace halo::kernels::cpu
