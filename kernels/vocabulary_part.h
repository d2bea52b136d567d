#pragma once
#include <cstdint>

namespace halo::kernels {

/// Which entries of a vocabulary of `size` a tensor holds: V of them from `first` on, V being its own size.
struct VocabularyPart {
  std::int64_t first = 0;
  std::int64_t size = 0;
};

}  // namespace halo::kernels
