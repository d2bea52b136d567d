#include "kernels/gates.h"

#include <type_traits>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/vector_math.h"

namespace halo::kernels::cpu {
namespace {

/// s = sigmoid(x) and 1 - s, each to full relative accuracy.
template <class T>
struct Sigmoid {
  explicit Sigmoid(T x) {
    constexpr T kLimit = std::is_same_v<T, double> ? 700 : 80;  // e^kLimit is finite
    const T e = exp_approx(-x > kLimit ? kLimit : -x);
    s = 1 / (1 + e);
    complement = e * s;
  }
  T s, complement;
};

/// body(i), elements of type T, for each i; elements are independent.
template <class Body>
void for_each_element(const TensorView& like, std::int64_t cost, Stream& stream, Body&& body) {
  for_each_block(like.size(), cost, stream,
                 [&](std::int64_t, std::int64_t begin, std::int64_t end) { body(begin, end); });
}

/// body(keep_output), where keep_output(i, value) writes y, unless that is empty.
template <class T, class Body>
void with_output(const TensorView& y, T /*of elements*/, Body&& body) {
  if (y.empty()) return body([](std::int64_t, T) {});
  auto* const out = y.as<T>();
  body([out](std::int64_t i, T value) { out[i] = value; });
}

/// y = f(a, b).
template <class Function>
void elementwise(const TensorView& y, const TensorView& a, const TensorView& b, Stream& stream,
                 Function f) {
  dispatch_cpu_float(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const out = y.as<T>();
    const auto* const left = a.as<T>();
    const auto* const right = b.as<T>();
    for_each_element(y, 1, stream, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) out[i] = f(left[i], right[i]);
    });
  });
}

}  // namespace

void swiglu(TensorView y, TensorView gate, TensorView up, Stream& stream) {
  dispatch_cpu_float(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const out = y.as<T>();
    const auto* const g = gate.as<T>();
    const auto* const u = up.as<T>();
    for_each_element(y, kExpCost, stream, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) out[i] = g[i] * Sigmoid<T>(g[i]).s * u[i];
    });
  });
}

void swiglu_backward(TensorView dgate, TensorView dup, TensorView y, TensorView dy, TensorView gate,
                     TensorView up, Stream& stream) {
  dispatch_cpu_float(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const dg = dgate.as<T>();
    auto* const du = dup.as<T>();
    const auto* const d = dy.as<T>();
    const auto* const g = gate.as<T>();
    const auto* const u = up.as<T>();
    with_output(y, zero, [&](auto keep_output) {
      for_each_element(dy, kExpCost, stream, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
        for (std::int64_t i = begin; i < end; ++i) {
          const T a = g[i], b = u[i], dyi = d[i];
          const Sigmoid<T> sigmoid(a);
          const T silu = a * sigmoid.s;
          du[i] = dyi * silu;
          dg[i] = dyi * b * (sigmoid.s * (1 + a * sigmoid.complement));
          keep_output(i, silu * b);
        }
      });
    });
  });
}

void sigmoid_gate(TensorView y, TensorView x, TensorView z, Stream& stream) {
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const out = y.as<T>();
    const auto* const a = x.as<T>();
    const auto* const g = z.as<T>();
    for_each_element(y, kExpCost, stream, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) out[i] = a[i] * Sigmoid<T>(g[i]).s;
    });
  });
}

void sigmoid_gate_backward(TensorView dx, TensorView dz, TensorView y, TensorView dy, TensorView x,
                           TensorView z, Stream& stream) {
  dispatch_cpu_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* const da = dx.as<T>();
    auto* const dg = dz.as<T>();
    const auto* const d = dy.as<T>();
    const auto* const a = x.as<T>();
    const auto* const g = z.as<T>();
    with_output(y, zero, [&](auto keep_output) {
      for_each_element(dy, kExpCost, stream, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
        for (std::int64_t i = begin; i < end; ++i) {
          const T ai = a[i], dyi = d[i];
          const Sigmoid<T> sigmoid(g[i]);
          da[i] = dyi * sigmoid.s;
          dg[i] = dyi * ai * (sigmoid.s * sigmoid.complement);
          keep_output(i, ai * sigmoid.s);
        }
      });
    });
  });
}

void add(TensorView y, TensorView a, TensorView b, Stream& stream) {
  elementwise(y, a, b, stream, [](auto left, auto right) { return left + right; });
}

void multiply(TensorView y, TensorView a, TensorView b, Stream& stream) {
  elementwise(y, a, b, stream, [](auto left, auto right) { return left * right; });
}

}  // namespace halo::kernels::cpu
