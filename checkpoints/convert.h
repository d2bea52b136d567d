#pragma once
#include <string_view>

#include "core/base/tensor_view.h"

namespace halo::checkpoints {

/// Copies host elements between views of equal shape, converting the dtype. Either view may be strided and `in` may be
/// unaligned (it may lie in a mapped file); they must not overlap.
///
/// Numerics  floats to floats: one rounding to nearest even, from float64 too; NaN stays NaN, too large becomes infinity.
///           Integers to integers: exact. A dtype to itself: the same bits.
/// Throws    InputError naming `place` when an integer does not fit, or for integers to floats and back; Error for
///           unequal shapes.
void convert(TensorView out, TensorView in, std::string_view place);

/// How many elements of a host view are NaN or infinite; 0 for integers. `in` as above.
[[nodiscard]] std::int64_t nonfinite_elements(TensorView in);

}  // namespace halo::checkpoints
