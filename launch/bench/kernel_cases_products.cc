#include <algorithm>
#include <cmath>

#include "core/base/text.h"
#include "kernels/lightning_attention.h"
#include "kernels/matmul.h"
#include "kernels/softmax_attention.h"
#include "launch/bench/kernel_cases.h"

namespace halo::launch {
namespace {

using Cases = std::vector<KernelCase>;

/// A product that writes c, or adds to it.
KernelCall product(std::function<void(Stream&)> run, TensorView c, TensorView a, TensorView b,
                   std::int64_t inner, bool adds) {
  KernelCost cost = adds ? moves({c, c, a, b}) : moves({c, a, b});
  cost.flops = matmul_flops(c.dim(0), c.dim(1), inner);
  return {std::move(run), cost};
}

/// y = x W^T of N rows of activations by a matrix (O, I); `name` says of which.
void add_linear(Cases& cases, const std::string& name, std::int64_t N, std::int64_t O,
                std::int64_t I, DType dtype) {
  cases.push_back({"linear",
                   str(N, " x ", O, " x ", I, ", ", name),
                   [=](Operands& o) -> KernelCall {
                     const TensorView y = o.room({N, O}, dtype), x = o.normal({N, I}, dtype);
                     const TensorView w = o.normal({O, I}, dtype);
                     return product([=](Stream& stream) { kernels::linear(y, x, w, stream); }, y, x,
                                    w, I, false);
                   },
                   {str("gemm ", N, "x", O, "x", I)}});
}

/// The same with its backward pass, dx = dy W and dW = dy^T x.
void add_matrix(Cases& cases, const std::string& name, std::int64_t N, std::int64_t O,
                std::int64_t I, const KernelSizes& s) {
  const std::string shape = str(N, " x ", O, " x ", I, ", ", name);
  add_linear(cases, name, N, O, I, s.dtype);
  cases.push_back({"linear, adds", shape, [=](Operands& o) -> KernelCall {
                     const TensorView y = o.room({N, O}, s.dtype), x = o.normal({N, I}, s.dtype);
                     const TensorView w = o.normal({O, I}, s.dtype);
                     const TensorView addend = o.normal({N, O}, s.dtype);
                     return product(
                         [=](Stream& stream) { kernels::linear(y, x, w, stream, addend); }, y, x, w,
                         I, true);
                   }});
  // Frozen matrices lie transposed.
  cases.push_back({"linear, transposed", shape, [=](Operands& o) -> KernelCall {
                     const TensorView y = o.room({N, O}, s.dtype), x = o.normal({N, I}, s.dtype);
                     const TensorView w = o.normal({I, O}, s.dtype).transposed(0, 1);
                     return product([=](Stream& stream) { kernels::linear(y, x, w, stream); }, y, x,
                                    w, I, false);
                   }});
  for (const bool adds : {false, true}) {
    const char* const suffix = adds ? ", adds" : "";
    cases.push_back(
        {str("linear_backward_input", suffix), shape, [=](Operands& o) -> KernelCall {
           const TensorView dx = o.normal({N, I}, s.dtype);
           const TensorView dy = o.normal({N, O}, s.dtype);
           const TensorView w = o.normal({O, I}, s.dtype);
           return product(
               [=](Stream& stream) { kernels::linear_backward_input(dx, dy, w, adds, stream); }, dx,
               dy, w, O, adds);
         }});
    cases.push_back(
        {str("linear_backward_weight", suffix), shape, [=](Operands& o) -> KernelCall {
           const TensorView dw = o.normal({O, I}, wide_dtype(s.dtype));
           const TensorView dy = o.normal({N, O}, s.dtype);
           const TensorView x = o.normal({N, I}, s.dtype);
           return product(
               [=](Stream& stream) { kernels::linear_backward_weight(dw, dy, x, adds, stream); },
               dw, dy, x, N, adds);
         }});
  }
}

struct Softmax {
  TensorView q, k, v, o, lse;
  double scale;
};
Softmax softmax_forward(Operands& o, const Shape& queries, const Shape& keys, DType dtype) {
  const Softmax a{o.normal(queries, dtype),
                  o.normal(keys, dtype),
                  o.normal(keys, dtype),
                  o.room(queries, dtype),
                  o.room({queries[0], queries[1], queries[2]}, wide_dtype(dtype)),
                  1 / std::sqrt(static_cast<double>(queries[3]))};
  kernels::softmax_attention(a.o, a.lse, a.q, a.k, a.v, a.scale, {}, o.stream());
  return a;
}

void add_softmax(Cases& cases, std::int64_t T, std::int64_t B, const KernelSizes& s) {
  const Shape queries{T, B, s.H, s.K}, keys{T, B, s.G, s.K};
  const std::string shape = str("T=", T, " B=", B, " H=", s.H, " G=", s.G);
  const auto peers = [&](const char* pass) {
    std::vector<std::string> names;
    for (const char* backend : {"FLASH_ATTENTION", "CUDNN_ATTENTION"})
      names.push_back(str("sdpa ", backend, ' ', pass, " T=", T, " B=", B));
    return names;
  };
  cases.push_back({"softmax_attention", shape,
                   [=, dtype = s.dtype](Operands& o) -> KernelCall {
                     const Softmax a = softmax_forward(o, queries, keys, dtype);
                     KernelCost cost = moves({a.q, a.k, a.v, a.o, a.lse});
                     cost.flops = softmax_attention_flops(queries);
                     return {[=](Stream& stream) {
                               kernels::softmax_attention(a.o, a.lse, a.q, a.k, a.v, a.scale, {},
                                                          stream);
                             },
                             cost};
                   },
                   peers("fwd")});
  cases.push_back({"softmax_attention_backward", shape,
                   [=, dtype = s.dtype](Operands& o) -> KernelCall {
                     const Softmax a = softmax_forward(o, queries, keys, dtype);
                     const TensorView d_o = o.normal(queries, dtype), dq = o.room(queries, dtype);
                     const TensorView dk = o.room(keys, dtype), dv = o.room(keys, dtype);
                     KernelCost cost = moves({a.q, a.k, a.v, a.o, a.lse, d_o, dq, dk, dv});
                     cost.flops = softmax_attention_backward_flops(queries);
                     return {[=](Stream& stream) {
                               kernels::softmax_attention_backward({dq, dk, dv}, d_o,
                                                                   {a.q, a.k, a.v, a.o, a.lse},
                                                                   a.scale, {}, stream);
                             },
                             cost};
                   },
                   peers("bwd")});
}

/// What its calls share: one key and value head for each query head, as converted models have.
struct Lightning {
  TensorView q, k, v;
  kernels::LightningOptions options;
};
Lightning lightning(Operands& o, const Shape& shape, DType dtype) {
  return {o.normal(shape, dtype),
          o.normal(shape, dtype),
          o.normal(shape, dtype),
          {kernels::slopes(static_cast<int>(shape[2])),
           1 / std::sqrt(static_cast<double>(shape[3])),
           {}}};
}

/// In one call, or as a rank that waits for a state from others does it.
void add_lightning(Cases& cases, std::int64_t T, std::int64_t B, bool waits, const KernelSizes& s) {
  const Shape x{T, B, s.H, s.K}, states{B, s.H, s.K, s.K};
  const std::string shape = str("T=", T, " B=", B, " H=", s.H);
  const auto peer = [&](const char* pass) -> std::vector<std::string> {
    return {str("chunk_simple_gla ", pass, " T=", T, " B=", B)};
  };
  const char* const suffix = waits ? ", waits" : "";
  const DType dtype = s.dtype, wide = wide_dtype(s.dtype);
  cases.push_back(
      {str("lightning_attention", suffix), shape,
       [=](Operands& o) -> KernelCall {
         const Lightning a = lightning(o, x, dtype);
         const TensorView out = o.room(x, dtype);
         KernelCost cost = moves({a.q, a.k, a.v, out});
         cost.flops = lightning_attention_flops(x);
         if (!waits) {
           return {[=](Stream& stream) {
                     kernels::lightning_attention(out, {}, a.q, a.k, a.v, {}, a.options, stream);
                   },
                   cost};
         }
         const TensorView in = o.normal(states, wide), own = o.room(states, wide);
         return {[=](Stream& stream) {
                   kernels::lightning_attention_begin(out, own, a.q, a.k, a.v, a.options, stream);
                   kernels::lightning_attention_finish(out, a.q, a.k, a.v, in, a.options, stream);
                 },
                 cost};
       },
       peer("fwd")});
  cases.push_back(
      {str("lightning_attention_backward", suffix), shape,
       [=](Operands& o) -> KernelCall {
         const Lightning a = lightning(o, x, dtype);
         const TensorView d_o = o.normal(x, dtype), dq = o.room(x, dtype), dk = o.room(x, dtype),
                          dv = o.room(x, dtype);
         KernelCost cost = moves({a.q, a.k, a.v, d_o, dq, dk, dv});
         cost.flops = lightning_attention_backward_flops(x);
         if (!waits) {
           return {[=](Stream& stream) {
                     kernels::lightning_attention_backward({dq, dk, dv, {}}, d_o, {},
                                                           {a.q, a.k, a.v, {}}, a.options, stream);
                   },
                   cost};
         }
         const TensorView in = o.normal(states, wide), d_out = o.normal(states, wide);
         const TensorView waiting = o.room(states, wide), d_in = o.room(states, wide);
         return {[=](Stream& stream) {
                   const kernels::LightningForward forward{a.q, a.k, a.v, in};
                   kernels::lightning_attention_backward_begin({dq, dk, dv, d_in}, waiting, d_o,
                                                               forward, a.options, stream);
                   kernels::lightning_attention_backward_finish({dq, dk, dv, {}}, waiting, d_o,
                                                                d_out, forward, a.options, stream);
                 },
                 cost};
       },
       peer("bwd")});
}

/// What joins the parts of a sequence that ranks share.
void add_joins(Cases& cases, std::int64_t T, std::int64_t B, const KernelSizes& s) {
  const Shape x{T, B, s.H, s.K}, rows{T, B, s.H}, states{B, s.H, s.K, s.K};
  const DType dtype = s.dtype, wide = wide_dtype(s.dtype);
  cases.push_back(
      {"merge_attention", to_string(x), [=](Operands& o) -> KernelCall {
         const TensorView out = o.normal(x, dtype), part = o.normal(x, dtype);
         const TensorView lse = o.normal(rows, wide), of_part = o.normal(rows, wide);
         return {[=](Stream& stream) { kernels::merge_attention(out, lse, part, of_part, stream); },
                 moves({out, out, part, lse, lse, of_part})};
       }});
  cases.push_back({"lightning_carry_state", to_string(states), [=](Operands& o) -> KernelCall {
                     const TensorView out = o.room(states, wide), in = o.normal(states, wide);
                     const TensorView own = o.normal(states, wide);
                     const TensorView kept = o.normal({B, s.H}, wide);
                     return {[=](Stream& stream) {
                               kernels::lightning_carry_state(out, in, own, kept, stream);
                             },
                             moves({out, in, own})};
                   }});
}

}  // namespace

void add_matmul_cases(Cases& cases, const KernelSizes& s) {
  constexpr std::int64_t kRows = 8192;  // a micro-batch's tokens
  const std::int64_t N = std::min(s.tokens, kRows);
  const auto add = [&](const char* name, std::int64_t O, std::int64_t I) {
    add_matrix(cases, name, N, O, I, s);
  };
  add("q", s.H * s.K, s.D);
  add("k and v", s.G * s.K, s.D);
  if (s.H * s.K != s.D) add("o", s.D, s.H * s.K);
  add("gate and up", s.I, s.D);
  add("down", s.D, s.I);
  const std::int64_t at_once = std::min(s.head_rows, s.tokens);
  add_matrix(cases, "head", at_once, s.V, s.D, s);
  if (at_once < N) add_linear(cases, "head, all at once", N, s.V, s.D, s.dtype);
}

void add_attention_cases(Cases& cases, const KernelSizes& s) {
  std::vector<std::int64_t> lengths;
  for (const std::int64_t T : {512, 4096, 16384, 65536})
    if (T <= 2 * s.tokens) lengths.push_back(T);
  if (lengths.empty()) lengths.push_back(s.tokens);
  const auto sequences = [&](std::int64_t T) { return std::max<std::int64_t>(s.tokens / T, 1); };
  for (const std::int64_t T : lengths) add_softmax(cases, T, sequences(T), s);
  for (const std::int64_t T : lengths) add_lightning(cases, T, sequences(T), false, s);
  const std::int64_t T = lengths[(lengths.size() - 1) * 2 / 3];  // of a long sequence's part
  add_lightning(cases, T, sequences(T), true, s);
  add_joins(cases, T, sequences(T), s);
}

}  // namespace halo::launch
