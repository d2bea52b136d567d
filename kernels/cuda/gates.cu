#include "kernels/gates.h"

#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/sigmoid.cuh"

namespace halo::kernels::cuda {
namespace {

struct SwiGlu {
  __device__ float operator()(float gate, float up) const { return gate * Sigmoid(gate).s * up; }
};
struct SigmoidGate {
  __device__ float operator()(float x, float z) const { return x * Sigmoid(z).s; }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Product {
  __device__ float operator()(float a, float b) const { return a * b; }
};

/// y = f(a, b).
template <class F, class T, class Right>
struct Binary {
  T* y;
  const T* a;
  const Right* b;

  template <int N>
  __device__ void at(std::int64_t i) const {
    const auto left = load_floats<N>(a, i);
    const auto right = load_floats<N>(b, i);
    Pack<float, N> result;
#pragma unroll
    for (int k = 0; k < N; ++k) result.at[k] = F{}(left.at[k], right.at[k]);
    store_floats(y, i, result);
  }
};

template <class F, class T, class Right>
void binary(const TensorView& y, const TensorView& a, const TensorView& b, const Stream& stream) {
  constexpr int N = std::min(kPack<T>, kPack<Right>);
  const Binary<F, T, Right> body{data_of<T>(y), data_of<T>(a), data_of<Right>(b)};
  launch_elementwise<N>(y.size(), aligned(body.y, body.a, body.b), body, stream);
}

/// All in one dtype.
template <class F>
void binary(const TensorView& y, const TensorView& a, const TensorView& b, const Stream& stream) {
  dispatch_cuda_float(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    binary<F, T, T>(y, a, b, stream);
  });
}

template <class T>
struct SwiGluBackward {
  T *dgate, *dup, *y;  // y may be null
  const T *dy, *gate, *up;

  template <int N>
  __device__ void at(std::int64_t i) const {
    const auto d = load_floats<N>(dy, i);
    const auto g = load_floats<N>(gate, i);
    const auto u = load_floats<N>(up, i);
    Pack<float, N> dg, du, output;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Sigmoid sigmoid(g.at[k]);
      const float silu = g.at[k] * sigmoid.s;
      du.at[k] = d.at[k] * silu;
      dg.at[k] = d.at[k] * u.at[k] * (sigmoid.s * fmaf(g.at[k], sigmoid.complement, 1.0f));
      output.at[k] = silu * u.at[k];
    }
    store_floats(dgate, i, dg);
    store_floats(dup, i, du);
    if (y != nullptr) store_floats(y, i, output);
  }
};

template <class T>
struct SigmoidGateBackward {
  T *dx, *dz, *y;  // y may be null
  const T *dy, *x, *z;

  template <int N>
  __device__ void at(std::int64_t i) const {
    const auto d = load_floats<N>(dy, i);
    const auto a = load_floats<N>(x, i);
    const auto g = load_floats<N>(z, i);
    Pack<float, N> da, dg, output;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Sigmoid sigmoid(g.at[k]);
      da.at[k] = d.at[k] * sigmoid.s;
      dg.at[k] = d.at[k] * a.at[k] * (sigmoid.s * sigmoid.complement);
      output.at[k] = a.at[k] * sigmoid.s;
    }
    store_floats(dx, i, da);
    store_floats(dz, i, dg);
    if (y != nullptr) store_floats(y, i, output);
  }
};

}  // namespace

void swiglu(TensorView y, TensorView gate, TensorView up, Stream& stream) {
  binary<SwiGlu>(y, gate, up, stream);
}

void swiglu_backward(TensorView dgate, TensorView dup, TensorView y, TensorView dy, TensorView gate,
                     TensorView up, Stream& stream) {
  dispatch_cuda_float(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    const SwiGluBackward<T> body{data_of<T>(dgate), data_of<T>(dup),  data_of<T>(y),
                                 data_of<T>(dy),    data_of<T>(gate), data_of<T>(up)};
    const bool in_packs = aligned(body.dgate, body.dup, body.y, body.dy, body.gate, body.up);
    launch_elementwise<kPack<T>>(dy.size(), in_packs, body, stream);
  });
}

void sigmoid_gate(TensorView y, TensorView x, TensorView z, Stream& stream) {
  binary<SigmoidGate>(y, x, z, stream);
}

void sigmoid_gate_backward(TensorView dx, TensorView dz, TensorView y, TensorView dy, TensorView x,
                           TensorView z, Stream& stream) {
  dispatch_cuda_float(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const SigmoidGateBackward<T> body{data_of<T>(dx), data_of<T>(dz), data_of<T>(y),
                                      data_of<T>(dy), data_of<T>(x),  data_of<T>(z)};
    const bool in_packs = aligned(body.dx, body.dz, body.y, body.dy, body.x, body.z);
    launch_elementwise<kPack<T>>(dy.size(), in_packs, body, stream);
  });
}

void add(TensorView y, TensorView a, TensorView b, Stream& stream) {
  if (b.dtype == a.dtype) return binary<Sum>(y, a, b, stream);
  HALO_REQUIRE(a.dtype == DType::kFloat32 && b.dtype == DType::kBFloat16,
               str("add: ", dtype_name(b.dtype), " to ", dtype_name(a.dtype), " on a GPU"));
  binary<Sum, float, __nv_bfloat16>(y, a, b, stream);
}

void multiply(TensorView y, TensorView a, TensorView b, Stream& stream) {
  binary<Product>(y, a, b, stream);
}

}  // namespace halo::kernels::cuda
