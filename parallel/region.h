#pragma once
#include <string>

#include "core/base/tensor_view.h"

namespace halo::parallel {

/// A rectangle of a whole tensor: `shape` elements an axis, from `offset`.
struct Region {
  Shape offset;
  Shape shape;
  [[nodiscard]] bool operator==(const Region&) const = default;
};

/// All of a tensor.
[[nodiscard]] inline Region whole(const Shape& shape) {
  Region region{shape, shape};
  for (int axis = 0; axis < shape.rank(); ++axis) region.offset[axis] = 0;
  return region;
}

/// A rectangle of a named tensor, with its values. Files, resharding and gradient norms work from these alone and know
/// no model.
struct TensorPiece {
  std::string name;    // the Hugging Face name
  Shape global_shape;  // of the whole tensor, unpadded
  Region region;
  TensorView data;  // contiguous, of region.shape
};

}  // namespace halo::parallel
