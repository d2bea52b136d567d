#include "parallel/comm/buffers.h"

#include <functional>

namespace halo::comm {

void require_dense(const TensorView& buffer, std::string_view op) {
  HALO_REQUIRE(buffer.contiguous(), str(op, " of a view that is not contiguous"));
  HALO_REQUIRE(buffer.data != nullptr || buffer.size() == 0, str(op, " of no memory"));
}

void require_peer(int peer, int size, std::string_view op) {
  HALO_REQUIRE(0 <= peer && peer < size, str(op, " with rank ", peer, " of ", size));
}

std::vector<Bytes> blocks_of(const TensorView& whole, const TensorView& part,
                             std::span<const std::int64_t> counts, int rank, int size,
                             std::string_view op) {
  require_dense(whole, op);
  require_dense(part, op);
  HALO_REQUIRE(counts.size() == static_cast<std::size_t>(size),
               str(op, ": ", counts.size(), " counts for ", size, " ranks"));
  HALO_REQUIRE(whole.dtype == part.dtype,
               str(op, " from ", dtype_name(whole.dtype), " and ", dtype_name(part.dtype)));
  HALO_REQUIRE(whole.device == part.device, str(op, " between host and device memory"));
  const std::int64_t own = counts[static_cast<std::size_t>(rank)];
  HALO_REQUIRE(part.size() == own,
               str(op, ": a part of ", part.size(), " elements for a count of ", own));
  std::vector<Bytes> blocks;
  Bytes rest = bytes_of(whole);
  for (const std::int64_t count : counts) {
    const std::size_t element = dtype_size(whole.dtype);
    HALO_REQUIRE(count >= 0 && static_cast<std::size_t>(count) <= rest.size() / element,
                 str(op, ": the counts do not fit ", whole.size(), " elements"));
    blocks.push_back(rest.first(static_cast<std::size_t>(count) * element));
    rest = rest.subspan(blocks.back().size());
  }
  HALO_REQUIRE(rest.empty(),
               str(op, ": the counts leave ", rest.size(), " of ", whole.bytes(), " bytes over"));
  const Bytes partial = bytes_of(part);
  const Bytes all = bytes_of(whole);
  HALO_REQUIRE(partial.empty() || partial.data() == blocks[static_cast<std::size_t>(rank)].data() ||
                   std::less_equal<>()(partial.data() + partial.size(), all.data()) ||
                   std::less_equal<>()(all.data() + all.size(), partial.data()),
               str(op, ": the part overlaps another block of the whole"));
  return blocks;
}

}  // namespace halo::comm
