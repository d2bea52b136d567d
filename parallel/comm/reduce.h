#pragma once
#include <cstddef>
#include <span>

#include "core/base/dtype.h"
#include "parallel/comm/communicator.h"

namespace halo::comm {

struct Reduction {
  DType dtype = DType::kFloat32;  // float64, float32, int64 or int32
  ReduceOp op = ReduceOp::kSum;
};

/// Throws Error for a dtype that is not reduced.
void require_reducible(DType dtype);

/// out[i] = ((sources[0][i] + sources[1][i]) + ...), or the maximum, of `count` elements. `out` may be one of the
/// sources. Whole numbers wrap around.
void reduce_in_rank_order(std::byte* out, std::span<const std::byte* const> sources,
                          std::size_t count, Reduction reduction);

}  // namespace halo::comm
