#pragma once
#include "core/base/stream.h"
#include "kernels/vocabulary_part.h"

namespace halo::kernels {

/// Rows of a table: y[n] = table[ids[n]].
///
/// Shapes y (N, D); ids (N) int32; table (V, D), rows part.first ... part.first + V - 1 of the whole one: where a row is
///        not among them y is zero. An id outside [0, part.size) throws Error; a GPU, on which nobody waits for the ids,
///        makes its row of y NaN and leaves its row of dy out.
/// Source oracle `hidden` (F.embedding).
void embedding(TensorView y, TensorView ids, TensorView table, const VocabularyPart& part,
               Stream& stream);

/// dtable[ids[n] - part.first] += dy[n] for the rows that dtable (V, D) holds, in the order of n for each row, so that
/// bits repeat. dy (N, D).
void embedding_backward(TensorView dtable, TensorView ids, TensorView dy,
                        const VocabularyPart& part, Stream& stream);

namespace cpu {
void embedding(TensorView y, TensorView ids, TensorView table, const VocabularyPart& part,
               Stream& stream);
void embedding_backward(TensorView dtable, TensorView ids, TensorView dy,
                        const VocabularyPart& part, Stream& stream);
}  // namespace cpu
namespace cuda {
void embedding(TensorView y, TensorView ids, TensorView table, const VocabularyPart& part,
               Stream& stream);
void embedding_backward(TensorView dtable, TensorView ids, TensorView dy,
                        const VocabularyPart& part, Stream& stream);
}  // namespace cuda
}  // namespace halo::kernels
