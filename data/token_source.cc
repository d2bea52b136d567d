#include "data/token_source.h"

#include <algorithm>

#include "core/base/error.h"

namespace halo::data {

void MemoryTokens::read(std::int64_t begin, std::span<std::int32_t> to) const {
  HALO_REQUIRE(begin >= 0 && begin <= tokens() && std::ssize(to) <= tokens() - begin,
               str("tokens ", begin, " to ", begin + std::ssize(to), " of ", tokens()));
  for (std::size_t i = 0; i < to.size(); ++i) {
    to[i] = tokens_[static_cast<std::size_t>(begin) + i];
    HALO_REQUIRE_INPUT(to[i] >= 0 && to[i] < vocab_size_,
                       str(name(), ": token ", begin + static_cast<std::int64_t>(i), " is id ",
                           to[i], ", past the vocabulary of ", vocab_size_));
  }
}

std::vector<std::int64_t> MemoryTokens::document_starts(std::int64_t begin,
                                                        std::int64_t end) const {
  const auto first = std::upper_bound(documents_.begin(), documents_.end(), begin);
  return {first, std::lower_bound(first, documents_.end(), end)};
}

}  // namespace halo::data
