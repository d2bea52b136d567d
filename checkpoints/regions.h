#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/tensor_view.h"
#include "parallel/region.h"

namespace halo::checkpoints {

/// Whether bytes of a dense tensor of up to 8 bytes an element can be counted in 64 bits, strides of empty ones included.
/// Anything from a file passes this before a TensorView or a size is made of it.
[[nodiscard]] bool addressable(const Shape& shape);

/// Whether the region's offset and shape have the rank of `shape` and lie within it. Safe for any numbers.
[[nodiscard]] bool inside(const parallel::Region& region, const Shape& shape);

/// What two regions of one tensor share; nothing when that has no elements.
[[nodiscard]] std::optional<parallel::Region> intersection(const parallel::Region& a,
                                                           const parallel::Region& b);

/// The elements `region` of a view whose first element lies at `origin` in the coordinates of `region`.
[[nodiscard]] TensorView part_of(TensorView view, const Shape& origin,
                                 const parallel::Region& region);

/// Calls `body` with rectangles of at most `max_elements` (>= 1) that make up the region, in row-major order; each is
/// contiguous in a dense row-major copy of the region. An empty region has none.
void for_each_block(const parallel::Region& region, std::int64_t max_elements,
                    const std::function<void(const parallel::Region&)>& body);

/// Empty when the regions cover every element of a tensor of `shape` exactly once, else what is wrong, with numbers.
[[nodiscard]] std::string coverage_problem(const Shape& shape,
                                           std::span<const parallel::Region> regions);

/// "(2, 3) at (4, 0)".
[[nodiscard]] std::string to_string(const parallel::Region& region);

/// A name from a file, fit for a message: control characters escaped, cut to 160 bytes.
[[nodiscard]] std::string printable(std::string_view name);

}  // namespace halo::checkpoints
