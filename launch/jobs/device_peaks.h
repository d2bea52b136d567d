#pragma once
#include <string_view>

#include "core/base/dtype.h"

namespace halo::launch {

/// FLOP/s of dense matrix products with float32 sums by the data sheet of a GPU of this name (cudaDeviceProp::name); 0 for
/// one that is not listed, or a dtype that no product has.
[[nodiscard]] double datasheet_flops(std::string_view gpu, DType dtype);

}  // namespace halo::launch
