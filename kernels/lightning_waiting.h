#pragma once
#include <cstdint>
#include <vector>

#include "core/base/dtype.h"

namespace halo::kernels {

inline constexpr std::int64_t kLightningChunk = 64;  // tokens; work a token grows with this + K

// Which chunks of a sequence wait for a state from outside it: those on which it still shows, its decay being above
// half the last digit of the wide dtype.

/// How many of the first chunks see the state before the sequence.
[[nodiscard]] std::int64_t chunks_seeing_start(std::int64_t tokens, double slope, DType dtype);
/// How many of the last chunks enter the state after the sequence, by one of the slopes.
[[nodiscard]] std::int64_t chunks_entering_end(std::int64_t tokens,
                                               const std::vector<double>& slopes, DType dtype);

}  // namespace halo::kernels
