#pragma once
#include <cstdint>

#include "core/base/stream.h"

namespace halo::kernels::cpu {

/// Temporaries of one item of a loop, taken one after the other from the memory of its thread.
template <class T>
class Workspace {
 public:
  Workspace(void* memory, std::int64_t elements)
      : next_(static_cast<T*>(memory)), end_(next_ + elements) {}
  [[nodiscard]] T* take(std::int64_t elements) {
    HALO_REQUIRE(end_ - next_ >= elements, "workspace too small");
    T* const part = next_;
    next_ += elements;
    return part;
  }

 private:
  T *next_, *end_;
};

/// body(i, workspace) for each i in [0, n) as Stream::parallel_each calls it, with room for `elements` of T.
template <class T, class Body>
void each_with_workspace(Stream& stream, std::int64_t n, std::int64_t elements, Body&& body) {
  stream.parallel_each(n, static_cast<std::size_t>(elements) * sizeof(T),
                       [&](std::int64_t i, void* memory) {
                         Workspace<T> workspace(memory, elements);
                         body(i, workspace);
                       });
}

}  // namespace halo::kernels::cpu
