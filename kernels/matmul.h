#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// C = alpha * op(A) op(B) + beta * (addend, or C), op(X) = X or its transpose.
///
/// Shapes   c (M, N); op(a) (M, K); op(b) (K, N). Rows may be strided, the last axis is dense.
/// DTypes   all the same, or a and b bfloat16 and c float32. beta = 0 never reads C.
/// Addend   of C's shape, dtype and strides, or empty for C itself.
/// Aliasing c overlaps neither a nor b; the addend is c or apart from it.
/// Throws   Error when shapes, dtypes or devices disagree.
struct Matmul {
  bool transpose_a = false;
  bool transpose_b = false;
  double alpha = 1.0;
  double beta = 0.0;
};
void matmul(TensorView c, TensorView a, TensorView b, const Matmul& options, Stream& stream,
            TensorView addend = {});

/// The same on one thread, the calling one: for kernels that split their own work. Row strides in elements.
template <class T>
struct MatmulBlock {
  std::int64_t M, N, K;
  const T* a;
  std::int64_t lda;
  bool transpose_a;
  const T* b;
  std::int64_t ldb;
  bool transpose_b;
  T* c;
  std::int64_t ldc;
  T alpha = 1;
  T beta = 0;
};
namespace cpu {
void matmul_block(const MatmulBlock<float>& block);
void matmul_block(const MatmulBlock<double>& block);
void matmul(TensorView c, TensorView a, TensorView b, const Matmul& options, Stream& stream);
}  // namespace cpu
namespace cuda {
void matmul(TensorView c, TensorView a, TensorView b, TensorView addend, const Matmul& options,
            Stream& stream);
}  // namespace cuda

/// y (N, O) = x (N, I) weight (O, I)^T, the projection of Hugging Face's Linear without bias, added to `addend` (N, O),
/// which may be y, unless that is empty (a GPU's library may round the sum to bfloat16 once or twice, and not alike in the
/// two cases). Faster by up to a tenth when the weight's columns are dense in memory rather than
/// its rows.
void linear(TensorView y, TensorView x, TensorView weight, Stream& stream, TensorView addend = {});
/// dx (N, I) = dy (N, O) weight (O, I), added to dx when `accumulate`.
void linear_backward_input(TensorView dx, TensorView dy, TensorView weight, bool accumulate,
                           Stream& stream);
/// dweight (O, I) = dy (N, O)^T x (N, I), added to dweight when `accumulate`.
void linear_backward_weight(TensorView dweight, TensorView dy, TensorView x, bool accumulate,
                            Stream& stream);

}  // namespace halo::kernels
