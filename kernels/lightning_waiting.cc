#include "kernels/lightning_waiting.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace halo::kernels {
namespace {

std::int64_t reach(double slope, std::int64_t tokens, DType dtype) {
  const int digits = wide_dtype(dtype) == DType::kFloat64 ? std::numeric_limits<double>::digits
                                                          : std::numeric_limits<float>::digits;
  const double steps = std::ceil((digits + 1) * std::log(2.0) / slope);  // infinite for slope 0
  return steps < static_cast<double>(tokens) ? static_cast<std::int64_t>(steps) : tokens;
}

std::int64_t chunks(std::int64_t tokens) {
  return (tokens + kLightningChunk - 1) / kLightningChunk;
}

}  // namespace

std::int64_t chunks_seeing_start(std::int64_t tokens, double slope, DType dtype) {
  return chunks(reach(slope, tokens, dtype));
}

std::int64_t chunks_entering_end(std::int64_t tokens, const std::vector<double>& slopes,
                                 DType dtype) {
  const std::int64_t tail = reach(*std::ranges::min_element(slopes), tokens, dtype);
  return chunks(tokens) - (tokens - tail) / kLightningChunk;
}

}  // namespace halo::kernels
