#include "checkpoints/agreement.h"

#include <cstdint>
#include <numeric>

namespace halo::checkpoints {

std::vector<std::string> gather_texts(comm::Communicator& ranks, const std::string& text) {
  const auto size = static_cast<std::size_t>(ranks.size());
  const std::vector<std::int64_t> ones(size, 1);
  std::vector<std::int64_t> lengths(size);
  auto length = static_cast<std::int64_t>(text.size());
  ranks.all_gather(view(lengths.data(), {ranks.size()}), view(&length, {1}), ones).wait();
  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  std::vector<std::uint8_t> mine(text.begin(), text.end());
  std::vector<std::uint8_t> all(static_cast<std::size_t>(total));
  ranks.all_gather(view(all.data(), {total}), view(mine.data(), {length}), lengths).wait();
  std::vector<std::string> texts;
  auto next = all.begin();
  for (const std::int64_t n : lengths) {
    texts.emplace_back(next, next + n);
    next += n;
  }
  return texts;
}

std::string first_failure(comm::Communicator& ranks, const std::string& failure) {
  const std::vector<std::string> failures = gather_texts(ranks, failure);
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    if (!failures[rank].empty()) return str("rank ", rank, ": ", failures[rank]);
  }
  return {};
}

}  // namespace halo::checkpoints
