#include "parallel/comm/scope_registry.h"

#include <algorithm>

namespace halo::comm {

ScopeRegistry::Window ScopeRegistry::taken(int first) const {
  Window window{};
  for (int i = 0; i < std::min(kWindow, blocks_); ++i) {
    if (!taken_.contains((first + i) % blocks_)) continue;
    auto& word = window[static_cast<std::size_t>(i / 64)];
    word = static_cast<std::int64_t>(static_cast<std::uint64_t>(word) | std::uint64_t{1} << i % 64);
  }
  return window;
}

int ScopeRegistry::first_free(int first, const std::vector<Window>& windows) const {
  for (int i = 0; i < std::min(kWindow, blocks_); ++i) {
    const bool is_taken = std::ranges::any_of(windows, [&](const Window& window) {
      return (static_cast<std::uint64_t>(window[static_cast<std::size_t>(i / 64)]) >> i % 64 & 1) !=
             0;
    });
    if (!is_taken) return (first + i) % blocks_;
  }
  return -1;
}

void ScopeRegistry::add(const Scope& scope) {
  next_id_ = scope.id + 1;
  next_block_ = (scope.block + 1) % blocks_;
  taken_.insert(scope.block);
  if (scope.group == 0) return;
  Family& family = families_[scope.group];
  ++family.open;
  family.ids.push_back(scope.id);
  family.blocks.push_back(scope.block);
}

void ScopeRegistry::remove(const Scope& scope, const std::function<bool(int)>& has_failed) {
  const auto found = families_.find(scope.group);
  if (found == families_.end() || --found->second.open > 0) return;
  if (std::ranges::none_of(found->second.ids, has_failed))
    for (const int block : found->second.blocks) taken_.erase(block);
  families_.erase(found);
}

}  // namespace halo::comm
