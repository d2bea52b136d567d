#pragma once
#include "kernels/cuda/loss_rows.cuh"

namespace halo::kernels::cuda {

// Kullback-Leibler divergences of rows, of teacher's logits y and student's z; see kl_loss in kernels/losses.h. Every sum
// is a formula of y - m_t and z - m_s whatever the shifts m are, so long as each is near its maximum.

/// l + e^-l - 1, for |l| <= 1/2: l^2 (1/2 - l/6 + ...), since the plain form cancels.
template <class F>
__device__ __forceinline__ F excess(F l) {
  constexpr double kInverseFactorials[] = {1. / 2,   1. / 6,    1. / 24,   1. / 120,
                                           1. / 720, 1. / 5040, 1. / 40320};
  F p = static_cast<F>(kInverseFactorials[6]);
#pragma unroll
  for (int k = 5; k >= 0; --k) p = static_cast<F>(kInverseFactorials[k]) - l * p;
  return l * l * p;
}

/// Sums over a row or a part of it, with l = (y - m_t) - (z - m_s).
template <class F>
struct KlSums {
  F teacher = 0, student = 0;  // of p = e^(y - m_t) and q = e^(z - m_s)
  F linear = 0;                // of p l
  F moment = 0;                // of p (e^-l - 1), the difference of the two
  F excess = 0;                // of p (e^-l - 1 + l), no term negative

  // __fadd_rn: the two sums must round alike where p = q, so neither may be fused with the products that make p and q.
  __device__ __forceinline__ void add(F p, F q, F l) {
    const bool near = fabsf(l) <= 0.5f;
    const F near_excess = p * cuda::excess(l);
    const F change = near ? near_excess - p * l : q - p;
    teacher = __fadd_rn(teacher, p);
    student = __fadd_rn(student, q);
    linear += p * l;
    moment += change;
    excess += near ? near_excess : p * l + change;
  }
};

/// The sums after the shifts rise by these, in the form that does not cancel where they rise nearly together.
__device__ __forceinline__ KlSums<double> with_shifts(const KlSums<double>& s, double by_teacher,
                                                      double by_student) {
  const double down = exp(-by_teacher), l = by_student - by_teacher;  // what each term's l gains
  KlSums<double> r;
  r.teacher = down * s.teacher;
  r.student = exp(-by_student) * s.student;
  r.linear = down * (s.linear + l * s.teacher);
  if (fabs(l) <= 0.5) {
    const double more = excess(l), change = more - l;  // e^-l - 1 + l, e^-l - 1
    r.moment = down * (s.moment + change * (s.moment + s.teacher));
    r.excess = down * (s.excess + change * s.moment + more * s.teacher);
  } else {
    r.moment = r.student - r.teacher;
    r.excess = r.linear + r.moment;
  }
  return r;
}

template <class To, class From>
__device__ __forceinline__ KlSums<To> converted(const KlSums<From>& s) {
  return {static_cast<To>(s.teacher), static_cast<To>(s.student), static_cast<To>(s.linear),
          static_cast<To>(s.moment), static_cast<To>(s.excess)};
}

/// Adds the threads' sums over the block.
__device__ __forceinline__ KlSums<double> over_block(const KlSums<double>& s) {
  double all[5] = {s.teacher, s.student, s.linear, s.moment, s.excess};
  block_sum<kRowThreads>(all);
  return {all[0], all[1], all[2], all[3], all[4]};
}

struct KlRow {
  KlSums<double> sums;
  float teacher_shift, student_shift;
};

/// A thread's sums, in one read of its logits.
struct KlRun {
  KlSums<float> sums;
  float teacher_shift = kLowest, student_shift = kLowest;

  template <int N>
  __device__ __forceinline__ void add(const float (&y)[N], const float (&z)[N]) {
    const float largest_y = largest_of(y), largest_z = largest_of(z);
    // Both at once: of nearly equal logits the shifts stay nearly equal.
    if (largest_y > teacher_shift + kSlack || largest_z > student_shift + kSlack)
      shift_to(fmaxf(teacher_shift, largest_y), fmaxf(student_shift, largest_z));
    const float between = teacher_shift - student_shift;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      sums.add(expf(y[k] - teacher_shift), expf(z[k] - student_shift), (y[k] - z[k]) - between);
    }
  }

  __device__ __forceinline__ KlRow over_block() const {
    float shifts[2] = {teacher_shift, student_shift};
    block_max(shifts);
    return {cuda::over_block(shifted_to(shifts[0], shifts[1])), shifts[0], shifts[1]};
  }

 private:
  __device__ __forceinline__ KlSums<double> shifted_to(float teacher, float student) const {
    const auto now = converted<double>(sums);
    if (teacher_shift == kLowest || student_shift == kLowest) return now;  // of nothing, or NaN
    return with_shifts(now, static_cast<double>(teacher) - teacher_shift,
                       static_cast<double>(student) - student_shift);
  }
  __device__ __forceinline__ void shift_to(float teacher, float student) {
    sums = converted<float>(shifted_to(teacher, student));
    teacher_shift = teacher, student_shift = student;
  }
};

/// KL = A / Z_t + ln(Z_s / Z_t), A the linear sum. Near 0 the two cancel; with A = excess - moment and Z_s / Z_t = 1 +
/// moment / Z_t what they have in common is taken away before it is rounded.
__device__ __forceinline__ double kl_of(const KlSums<double>& sums) {
  const double moment = sums.moment / sums.teacher;
  if (fabs(moment) < 0.5) return sums.excess / sums.teacher - (moment - log1p(moment));
  return sums.linear / sums.teacher + (log(sums.student) - log(sums.teacher));
}

/// Gradients of the student's logits from exponentials.
struct KlGradient {
  float factor, ratio;
  __device__ __forceinline__ KlGradient(const KlSums<double>& sums, double gradient_scale)
      : factor(static_cast<float>(gradient_scale / sums.student)),
        ratio(static_cast<float>(sums.student / sums.teacher)) {}
  // The one fusion that gives 0 for equal exponentials whatever made them.
  __device__ __forceinline__ float operator()(float q, float p) const {
    return factor * __fmaf_rn(-p, ratio, q);
  }
};

}  // namespace halo::kernels::cuda
