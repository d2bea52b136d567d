#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "parallel/comm/buffers.h"
#include "parallel/comm/operation.h"
#include "parallel/comm/reduce.h"

namespace halo::comm {

/// The ranks of one communicator.
struct Scope {
  std::string name;
  int id = 0;     // unique among all scopes that each member ever has
  int block = 0;  // of tags; unique among the scopes that each member has
  int group =
      0;  // the nearest scope that group() made: itself or one that it was split from; 0: none
  std::vector<int> lineage;  // its own id and those of all scopes it was split from
  std::vector<int> members;  // world ranks
  int rank = 0;              // this rank's place in them
  [[nodiscard]] int size() const { return static_cast<int>(members.size()); }
  [[nodiscard]] int world_rank(int member) const {
    return members[static_cast<std::size_t>(member)];
  }
  [[nodiscard]] int member_of_world_rank(int world_rank) const;  // -1 when none
};

/// What one operation sends and receives through: its peers and a tag of its own.
struct Channel {
  Transport* transport = nullptr;
  Stream* stream = nullptr;  // whose allocator gives the temporaries
  std::shared_ptr<const Scope> scope;
  int tag = 0;
  std::size_t message_bytes = 0;
  std::size_t piece_bytes = 0;

  [[nodiscard]] int rank() const { return scope->rank; }
  [[nodiscard]] int size() const { return scope->size(); }
  /// The rank `distance` places after this one, around the ring.
  [[nodiscard]] int after(int distance) const { return (rank() + distance) % size(); }
  /// Nothing happens for no bytes.
  void send(Pending& pending, int to, std::span<const std::byte> bytes) const;
  void receive(Pending& pending, int from, std::span<std::byte> bytes) const;
};

/// The algorithms, for two ranks and more. Buffers outlive the operation, or its destruction.
/// Each rank sends its block straight to every other.
[[nodiscard]] Operation all_gather(Channel channel, std::vector<Bytes> blocks);
/// Each rank sends every other its block's pieces and sums its own in rank order; piece k + 1 travels while k is
/// summed.
/// `out` may be this rank's block.
[[nodiscard]] Operation reduce_scatter(Channel channel, Bytes out, std::vector<ConstBytes> blocks,
                                       Reduction reduction);
/// By size and ranks one of: everybody to everybody, over rank 0, or reduce_scatter and all_gather.
[[nodiscard]] Operation all_reduce(Channel channel, Bytes buffer, Reduction reduction);
/// Along a binomial tree.
[[nodiscard]] Operation broadcast(Channel channel, Bytes buffer, int root);
/// Dissemination: in round k each rank signals the one 2^k after it.
/// Source: Hensgen, Finkel, Manber 1988, "Two algorithms for barrier synchronization".
[[nodiscard]] Operation barrier(Channel channel);

struct PeerBytes {
  int peer = 0;
  Bytes bytes;  // not written to by sends
};
[[nodiscard]] Operation exchange(Channel channel, std::vector<PeerBytes> sends,
                                 std::vector<PeerBytes> receives);

}  // namespace halo::comm
