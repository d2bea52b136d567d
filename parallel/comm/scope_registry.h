#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "parallel/comm/collectives.h"

namespace halo::comm {

/// Which numbers and which tags the communicators of one rank have. Numbers are never used again, so that what is said of one
/// communicator is of no other. Blocks of tags are: those of a group and of all that was split from it become free together,
/// when none of these is left on this rank and none has failed. Whatever of theirs is still under way to other members
/// then, those have not left yet, and take no part in a new communicator with the same block before they have. A failed
/// group's blocks stay taken: messages of it may lie unread.
class ScopeRegistry {
 public:
  /// `blocks` of tags, of which the world has the first.
  explicit ScopeRegistry(int blocks) : blocks_(blocks) {}

  /// What the ranks of a new communicator tell each other: the highest of each counts.
  [[nodiscard]] int next_id() const { return next_id_; }
  [[nodiscard]] int next_block() const { return next_block_; }
  [[nodiscard]] int blocks() const { return blocks_; }

  static constexpr int kWindow = 512;
  using Window = std::array<std::int64_t, kWindow / 64>;
  /// Bit i: block (first + i) mod blocks() is taken here.
  [[nodiscard]] Window taken(int first) const;
  /// The first block that is free in all windows from `first` on, or -1. A window holds no more than blocks() of them.
  [[nodiscard]] int first_free(int first, const std::vector<Window>& windows) const;

  /// A communicator that this rank is in from now on.
  void add(const Scope& scope);
  /// It is gone here. `has_failed` knows the numbers of those that have.
  void remove(const Scope& scope, const std::function<bool(int)>& has_failed);

 private:
  /// A group and what was split from it.
  struct Family {
    int open = 0;
    std::vector<int> ids, blocks;
  };

  int blocks_;
  int next_id_ = 1, next_block_ = 1;
  std::set<int> taken_{0};
  std::map<int, Family> families_;  // by the group's number
};

}  // namespace halo::comm
