#include "core/base/text.h"
#include "kernels/embedding.h"
#include "kernels/gates.h"
#include "kernels/norm_gate.h"
#include "kernels/norm_rope.h"
#include "kernels/optimizer.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "launch/bench/kernel_cases.h"

// Ops whose time is that of moving their operands, but for the losses.

namespace halo::launch {
namespace {

using Cases = std::vector<KernelCase>;

struct Norm {
  TensorView y, inv_rms, x, weight;
};
Norm normalised(Operands& o, std::int64_t rows, std::int64_t D, const KernelSizes& s) {
  const Norm n{o.room({rows, D}, s.dtype), o.room({rows}, wide_dtype(s.dtype)),
               o.normal({rows, D}, s.dtype), o.normal({D}, s.dtype)};
  kernels::rms_norm(n.y, n.inv_rms, n.x, n.weight, s.eps, o.stream());
  return n;
}

/// Of `what`: "" for a whole row, "queries" and "keys" for heads.
void add_norm(Cases& cases, const std::string& what, std::int64_t rows, std::int64_t D,
              const KernelSizes& s) {
  const std::string shape = str(rows, " x ", D, what);
  cases.push_back({"rms_norm", shape, [=](Operands& o) -> KernelCall {
                     const Norm n = normalised(o, rows, D, s);
                     return {[=](Stream& stream) {
                               kernels::rms_norm(n.y, n.inv_rms, n.x, n.weight, s.eps, stream);
                             },
                             moves({n.y, n.x, n.inv_rms})};
                   }});
  for (const bool adds : {false, true}) {
    cases.push_back(
        {adds ? "rms_norm_backward, adds" : "rms_norm_backward", shape,
         [=](Operands& o) -> KernelCall {
           const Norm n = normalised(o, rows, D, s);
           const TensorView dx = o.normal({rows, D}, s.dtype), dy = o.normal({rows, D}, s.dtype);
           const TensorView dweight = o.normal({D}, wide_dtype(s.dtype));
           return {[=](Stream& stream) {
                     kernels::rms_norm_backward(dx, dweight, dy, n.x, n.weight, n.inv_rms, adds,
                                                stream);
                   },
                   adds ? moves({dx, dx, dy, n.x, n.inv_rms}) : moves({dx, dy, n.x, n.inv_rms})};
         }});
  }
}

/// A mixer's output norm with its gate.
void add_norm_gate(Cases& cases, const KernelSizes& s) {
  const Shape shape{s.tokens, s.H * s.K};
  cases.push_back({"norm_gate", to_string(shape), [=](Operands& o) -> KernelCall {
                     const Norm n = normalised(o, shape[0], shape[1], s);
                     const TensorView z = o.normal(shape, s.dtype);
                     return {[=](Stream& stream) {
                               kernels::norm_gate(n.y, n.inv_rms, n.x, n.weight, z, s.eps, stream);
                             },
                             moves({n.y, n.x, z, n.inv_rms})};
                   }});
  cases.push_back({"norm_gate_backward", to_string(shape), [=](Operands& o) -> KernelCall {
                     const Norm n = normalised(o, shape[0], shape[1], s);
                     const TensorView z = o.normal(shape, s.dtype), d = o.normal(shape, s.dtype);
                     const TensorView dweight = o.normal({shape[1]}, wide_dtype(s.dtype));
                     return {[=](Stream& stream) {  // in place as the model calls it
                               kernels::norm_gate_backward(d, dweight, n.y, z, n.x, n.weight,
                                                           n.inv_rms, s.eps, stream);
                             },
                             moves({d, d, z, z, n.y, n.x, n.inv_rms})};
                   }});
}

/// Sums of rows whose channels are cut along the tensor axis.
void add_split_norm(Cases& cases, const KernelSizes& s) {
  const std::string shape = str(s.tokens, " x ", s.D);
  cases.push_back(
      {"row_squares", shape, [=](Operands& o) -> KernelCall {
         const TensorView sums = o.room({s.tokens}, wide_dtype(s.dtype));
         const TensorView x = o.normal({s.tokens, s.D}, s.dtype);
         return {[=](Stream& stream) { kernels::row_squares(sums, x, stream); }, moves({sums, x})};
       }});
  cases.push_back({"row_dots", shape, [=](Operands& o) -> KernelCall {
                     const TensorView sums = o.room({s.tokens}, wide_dtype(s.dtype));
                     const TensorView x = o.normal({s.tokens, s.D}, s.dtype);
                     const TensorView dy = o.normal({s.tokens, s.D}, s.dtype);
                     const TensorView weight = o.normal({s.D}, s.dtype);
                     return {
                         [=](Stream& stream) { kernels::row_dots(sums, dy, x, weight, stream); },
                         moves({sums, dy, x})};
                   }});
}

/// What queries and keys go through: their norm and RoPE in one pass.
void add_norm_rope(Cases& cases, const Shape& shape, const KernelSizes& s) {
  const std::int64_t T = shape[0], rows = shape.elements() / s.K;
  struct Call {
    TensorView y, inv_rms, x, weight;
    kernels::HeadRotation rotation;
  };
  const auto forward = [=](Operands& o) {
    const Call c{o.room(shape, s.dtype),
                 o.room({rows}, wide_dtype(s.dtype)),
                 o.normal(shape, s.dtype),
                 o.normal({s.K}, s.dtype),
                 {o.room({T, s.K / 2}, s.dtype), o.room({T, s.K / 2}, s.dtype)}};
    kernels::rope_tables(c.rotation.cos, c.rotation.sin, 0, s.theta, o.stream());
    kernels::norm_rope(c.y, c.inv_rms, c.x, c.weight, s.eps, c.rotation, o.stream());
    return c;
  };
  cases.push_back({"norm_rope", to_string(shape), [=](Operands& o) -> KernelCall {
                     const Call c = forward(o);
                     return {[=](Stream& stream) {
                               kernels::norm_rope(c.y, c.inv_rms, c.x, c.weight, s.eps, c.rotation,
                                                  stream);
                             },
                             moves({c.y, c.x, c.inv_rms})};
                   }});
  cases.push_back({"norm_rope_backward", to_string(shape), [=](Operands& o) -> KernelCall {
                     const Call c = forward(o);
                     const TensorView d = o.normal(shape, s.dtype);
                     const TensorView dweight = o.normal({s.K}, wide_dtype(s.dtype));
                     return {[=](Stream& stream) {
                               kernels::norm_rope_backward(d, dweight, c.x, c.weight, c.inv_rms,
                                                           c.rotation, stream);
                             },
                             moves({d, d, c.x, c.inv_rms})};
                   }});
}

void add_positions(Cases& cases, const KernelSizes& s) {
  const std::int64_t T = std::min<std::int64_t>(s.tokens, 4096), B = s.tokens / T;
  for (const std::int64_t heads : {s.H, s.G}) {
    const Shape shape{T, B, heads, s.K};
    add_norm_rope(cases, shape, s);
    cases.push_back({"apply_rope", to_string(shape), [=](Operands& o) -> KernelCall {
                       const TensorView x = o.normal(shape, s.dtype);
                       const TensorView cos = o.room({T, s.K / 2}, s.dtype);
                       const TensorView sin = o.room({T, s.K / 2}, s.dtype);
                       kernels::rope_tables(cos, sin, 0, s.theta, o.stream());
                       return {
                           [=](Stream& stream) { kernels::apply_rope(x, cos, sin, false, stream); },
                           moves({x, x, cos, sin})};
                     }});
  }
  const Shape shape{T, B, s.H, s.K};
  cases.push_back({"scale_by_position", to_string(shape), [=](Operands& o) -> KernelCall {
                     const TensorView x = o.room(shape, s.dtype);
                     fill_zero(x, o.stream());  // else it would grow from call to call
                     return {[=](Stream& stream) { kernels::scale_by_position(x, 0, 500, stream); },
                             moves({x, x})};
                   }});
  cases.push_back(
      {"rope_tables", str(s.tokens, " x ", s.K / 2), [=](Operands& o) -> KernelCall {
         const TensorView cos = o.room({s.tokens, s.K / 2}, s.dtype);
         const TensorView sin = o.room({s.tokens, s.K / 2}, s.dtype);
         return {[=](Stream& stream) { kernels::rope_tables(cos, sin, 0, s.theta, stream); },
                 moves({cos, sin})};
       }});
}

void add_gates(Cases& cases, const KernelSizes& s) {
  const Shape wide{s.tokens, s.I}, heads{s.tokens, s.H * s.K};
  cases.push_back({"swiglu", to_string(wide), [=](Operands& o) -> KernelCall {
                     const TensorView y = o.room(wide, s.dtype), gate = o.normal(wide, s.dtype);
                     const TensorView up = o.normal(wide, s.dtype);
                     return {[=](Stream& stream) { kernels::swiglu(y, gate, up, stream); },
                             moves({y, gate, up})};
                   }});
  // In place as the model calls it would change its operands from call to call.
  cases.push_back({"swiglu_backward", to_string(wide), [=](Operands& o) -> KernelCall {
                     const TensorView dgate = o.room(wide, s.dtype), dup = o.room(wide, s.dtype);
                     const TensorView y = o.room(wide, s.dtype), dy = o.normal(wide, s.dtype);
                     const TensorView gate = o.normal(wide, s.dtype), up = o.normal(wide, s.dtype);
                     return {[=](Stream& stream) {
                               kernels::swiglu_backward(dgate, dup, y, dy, gate, up, stream);
                             },
                             moves({dgate, dup, y, dy, gate, up})};
                   }});
  cases.push_back(
      {"sigmoid_gate", to_string(heads), [=](Operands& o) -> KernelCall {
         const TensorView y = o.room(heads, s.dtype), x = o.normal(heads, s.dtype);
         const TensorView z = o.normal(heads, s.dtype);
         return {[=](Stream& stream) { kernels::sigmoid_gate(y, x, z, stream); }, moves({y, x, z})};
       }});
  cases.push_back({"sigmoid_gate_backward", to_string(heads), [=](Operands& o) -> KernelCall {
                     const TensorView dx = o.room(heads, s.dtype), dz = o.room(heads, s.dtype);
                     const TensorView dy = o.normal(heads, s.dtype), x = o.normal(heads, s.dtype);
                     const TensorView z = o.normal(heads, s.dtype);
                     return {[=](Stream& stream) {
                               kernels::sigmoid_gate_backward(dx, dz, {}, dy, x, z, stream);
                             },
                             moves({dx, dz, dy, x, z})};
                   }});
  const Shape hidden{s.tokens, s.D};
  const auto binary = [&](const char* op, auto function) {
    cases.push_back(
        {op, to_string(hidden), [=](Operands& o) -> KernelCall {
           const TensorView y = o.room(hidden, s.dtype), a = o.normal(hidden, s.dtype);
           const TensorView b = o.normal(hidden, s.dtype);
           return {[=](Stream& stream) { function(y, a, b, stream); }, moves({y, a, b})};
         }});
  };
  binary("add", kernels::add);
  binary("multiply", kernels::multiply);
}

void add_embedding(Cases& cases, const KernelSizes& s) {
  const std::string shape = str(s.tokens, " of ", s.V, " x ", s.D);
  const kernels::VocabularyPart part{0, s.V};
  cases.push_back({"embedding", shape, [=](Operands& o) -> KernelCall {
                     const TensorView y = o.room({s.tokens, s.D}, s.dtype);
                     const TensorView ids = o.tokens(s.tokens, s.V);
                     const TensorView table = o.normal({s.V, s.D}, s.dtype);
                     return {
                         [=](Stream& stream) { kernels::embedding(y, ids, table, part, stream); },
                         moves({y, y, ids})};
                   }});
  cases.push_back({"embedding_backward", shape, [=](Operands& o) -> KernelCall {
                     const TensorView dtable = o.normal({s.V, s.D}, wide_dtype(s.dtype));
                     const TensorView ids = o.tokens(s.tokens, s.V);
                     const TensorView dy = o.normal({s.tokens, s.D}, s.dtype);
                     const TensorView rows = dtable.slice(0, 0, std::min(s.tokens, s.V));
                     return {[=](Stream& stream) {
                               kernels::embedding_backward(dtable, ids, dy, part, stream);
                             },
                             moves({dy, rows, rows, ids})};
                   }});
}

void add_optimizer(Cases& cases, const KernelSizes& s) {
  const std::int64_t n = s.tokens * s.D;
  const DType wide = wide_dtype(s.dtype);
  const std::string shape = str(n);
  cases.push_back(
      {"adamw", shape, [=](Operands& o) -> KernelCall {
         const TensorView master = o.normal({n}, wide), m = o.normal({n}, wide);
         const TensorView v = o.room({n}, wide), grad = o.normal({n}, wide);
         const TensorView weight = wide == s.dtype ? TensorView() : o.room({n}, s.dtype);
         fill_zero(v, o.stream());
         const kernels::AdamWStep step{.lr = 1e-4};
         KernelCost cost = moves({master, m, v, master, m, v, grad});
         if (!weight.empty()) cost.bytes += moves({weight}).bytes;
         return {[=](Stream& stream) { kernels::adamw(weight, master, m, v, grad, step, stream); },
                 cost};
       }});
  cases.push_back(
      {"sum_of_squares", shape, [=](Operands& o) -> KernelCall {
         const TensorView x = o.normal({n}, wide);
         const TensorView sum = o.room({1}, DType::kFloat64);
         fill_zero(sum, o.stream());
         return {[=](Stream& stream) { kernels::add_sum_of_squares(sum, x, stream); }, moves({x})};
       }});
  cases.push_back(
      {"count_nonfinite", shape, [=](Operands& o) -> KernelCall {
         const TensorView x = o.normal({n}, wide);
         return {[=](Stream& stream) { static_cast<void>(kernels::count_nonfinite(x, stream)); },
                 moves({x})};
       }});
  if (wide == s.dtype) return;
  cases.push_back(
      {"cast", shape, [=](Operands& o) -> KernelCall {
         const TensorView to = o.room({n}, s.dtype), from = o.normal({n}, wide);
         return {[=](Stream& stream) { kernels::cast(to, from, stream); }, moves({to, from})};
       }});
}

}  // namespace

void add_row_cases(Cases& cases, const KernelSizes& s) {
  add_norm(cases, "", s.tokens, s.D, s);
  add_norm(cases, ", queries", s.tokens * s.H, s.K, s);
  add_norm(cases, ", keys", s.tokens * s.G, s.K, s);
  add_norm_gate(cases, s);
  add_split_norm(cases, s);
  add_positions(cases, s);
  add_gates(cases, s);
  add_embedding(cases, s);
  add_optimizer(cases, s);
}

}  // namespace halo::launch
