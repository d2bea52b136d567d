#pragma once
#include "core/base/stream.h"

namespace halo::kernels {

/// Rows of a table: y[n] = table[ids[n]].
///
/// Shapes y (N, D); ids (N) int32; table (V, D). Id -1 stands for a row of another rank's part of the table: y is zero
///        there. Throws Error when an id is outside [-1, V).
/// Source oracle `hidden` (F.embedding).
void embedding(TensorView y, TensorView ids, TensorView table, Stream& stream);

/// dtable[ids[n]] += dy[n] but for id -1, in the order of n for each row, so that bits repeat. dtable (V, D), dy (N, D).
void embedding_backward(TensorView dtable, TensorView ids, TensorView dy, Stream& stream);

namespace cpu {
void embedding(TensorView y, TensorView ids, TensorView table, Stream& stream);
void embedding_backward(TensorView dtable, TensorView ids, TensorView dy, Stream& stream);
}  // namespace cpu
}  // namespace halo::kernels
