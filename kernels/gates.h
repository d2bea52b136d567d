#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

// Elementwise gates. All views are contiguous and of one shape and dtype; outputs may be any of the inputs of their own
// position (y over x, dx over dy). Throw Error otherwise.

/// y = silu(gate) * up, silu(a) = a / (1 + e^-a). Source: Shazeer 2020; oracle `mlp`.
void swiglu(TensorView y, TensorView gate, TensorView up, Stream& stream);
/// dgate, dup from dy and the forward pass's gate and up; y = the forward pass's output once more, which costs less than
/// keeping it, or empty. dgate may be gate, dup may be up, y may be dy.
void swiglu_backward(TensorView dgate, TensorView dup, TensorView y, TensorView dy, TensorView gate,
                     TensorView up, Stream& stream);

/// y = x * sigmoid(z): the output gates of both mixers. Source: oracle `attn_mixer`, `lightning_mixer`.
void sigmoid_gate(TensorView y, TensorView x, TensorView z, Stream& stream);
/// dx, dz from dy and the forward pass's x and z; y = the forward pass's output once more, or empty. dx may be dy, dz may
/// be z, y may be x.
void sigmoid_gate_backward(TensorView dx, TensorView dz, TensorView y, TensorView dy, TensorView x,
                           TensorView z, Stream& stream);

/// y = a + b, where b may be bfloat16 and the others float32; y = a * b.
void add(TensorView y, TensorView a, TensorView b, Stream& stream);
void multiply(TensorView y, TensorView a, TensorView b, Stream& stream);

namespace cpu {
void swiglu(TensorView y, TensorView gate, TensorView up, Stream& stream);
void swiglu_backward(TensorView dgate, TensorView dup, TensorView y, TensorView dy, TensorView gate,
                     TensorView up, Stream& stream);
void sigmoid_gate(TensorView y, TensorView x, TensorView z, Stream& stream);
void sigmoid_gate_backward(TensorView dx, TensorView dz, TensorView y, TensorView dy, TensorView x,
                           TensorView z, Stream& stream);
void add(TensorView y, TensorView a, TensorView b, Stream& stream);
void multiply(TensorView y, TensorView a, TensorView b, Stream& stream);
}  // namespace cpu
namespace cuda {
void swiglu(TensorView y, TensorView gate, TensorView up, Stream& stream);
void swiglu_backward(TensorView dgate, TensorView dup, TensorView y, TensorView dy, TensorView gate,
                     TensorView up, Stream& stream);
void sigmoid_gate(TensorView y, TensorView x, TensorView z, Stream& stream);
void sigmoid_gate_backward(TensorView dx, TensorView dz, TensorView y, TensorView dy, TensorView x,
                           TensorView z, Stream& stream);
void add(TensorView y, TensorView a, TensorView b, Stream& stream);
void multiply(TensorView y, TensorView a, TensorView b, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
