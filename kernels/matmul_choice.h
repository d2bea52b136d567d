#pragma once
#include <string>
#include <string_view>

#include "core/base/stream.h"

namespace halo::kernels {

// A GPU's library has several algorithms for one product, which sum in different orders. Which one a stream takes is kept
// as text, so that a run that goes on, or that is run again, gives the same bits.

enum class MatmulChoice : std::uint8_t {
  kKnown,    // that of the table, else the library's first: the same each time
  kFastest,  // that of the table, else the fastest of those that are timed once for each shape
};
/// Of products that the stream has not met yet. A new stream's choice is kKnown. Nothing on the CPU.
void choose_matmuls(Stream& stream, MatmulChoice choice);

/// The table of what the stream's products have taken so far and of what was loaded: a line that names GPU and library, and
/// a line a product. Empty on the CPU.
[[nodiscard]] std::string matmul_table(Stream& stream);
/// Adds what it does not know. A table of another GPU or library is passed over; returns whether this one was of use.
/// Throws Error for text that is no table.
bool load_matmul_table(Stream& stream, std::string_view table);

namespace cuda {
void choose_matmuls(Stream& stream, MatmulChoice choice);
std::string matmul_table(Stream& stream);
bool load_matmul_table(Stream& stream, std::string_view table);
}  // namespace cuda
}  // namespace halo::kernels
