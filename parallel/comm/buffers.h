#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/tensor_view.h"

namespace halo::comm {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

[[nodiscard]] inline Bytes bytes_of(const TensorView& view) {
  return {static_cast<std::byte*>(view.data), view.bytes()};
}

// What callers can get wrong; `op` names the call. Each throws Error.
void require_dense(const TensorView& buffer, std::string_view op);
void require_peer(int peer, int size, std::string_view op);

/// The blocks of `whole` by `counts`, checked against them and against `part`, the block of `rank`.
[[nodiscard]] std::vector<Bytes> blocks_of(const TensorView& whole, const TensorView& part,
                                           std::span<const std::int64_t> counts, int rank, int size,
                                           std::string_view op);

}  // namespace halo::comm
